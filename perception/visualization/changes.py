"""What became of a point cloud: which points moved, came, went; and their marks.

Shape letters: P, Q points before and after; F features of a point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from perception.core.geometry import transform_points
from perception.visualization.canvas import (
    line_height,
    new_canvas,
    paint_segments,
    paint_text,
    small,
    text_width,
)
from perception.visualization.palette import (
    BLACK,
    NO_RETURN,
    SKY_BLUE,
    VERMILLION,
    Rgb,
)

# Nearly white: yellow boxes were missed, and the points themselves are grey.
MOVED: Rgb = (248, 246, 240)
MARKS: dict[str, tuple[str, Rgb]] = {
    "moved": ("line", MOVED),
    "added": ("plus", VERMILLION),
    "removed": ("cross", SKY_BLUE),
}
# Above this number of marks, smooth lines cost more than they show.
_MANY = 3000
# Up to this number, thicker ones keep single points from being overlooked.
_FEW = 300


@dataclass(frozen=True)
class PointChanges:
    """Points in the sensor's frame, metres, that an attack touched.

    Attributes:
        moved_from: (M, 3) where moved points were.
        moved_to: (M, 3) where they are.
        added: (A, 3) points that were not there.
        removed: (R, 3) points that are gone.
    """

    moved_from: np.ndarray
    moved_to: np.ndarray
    added: np.ndarray
    removed: np.ndarray

    def count(self, kind: str) -> int:
        """How many points were ``moved``, ``added`` or ``removed``."""
        return len(getattr(self, "moved_to" if kind == "moved" else kind))

    def thinned(self, most: int) -> PointChanges:
        """Every so many-th point of each kind, so that at most ``most`` are left."""
        step = max(1, *(-(-self.count(kind) // most) for kind in MARKS))
        names = ("moved_from", "moved_to", "added", "removed")
        return PointChanges(**{name: getattr(self, name)[::step] for name in names})


def point_changes(clean: np.ndarray, attacked: np.ndarray) -> PointChanges:
    """Compare two clouds (P, 3 + F) and (Q, 3 + F).

    Clouds of equal length are compared row by row: what differs in place has moved.
    Otherwise a row found in one cloud alone was removed or added.
    """
    before = np.ascontiguousarray(clean[:, :3], dtype=np.float32)
    after = np.ascontiguousarray(attacked[:, :3], dtype=np.float32)
    none = np.zeros((0, 3), dtype=np.float32)
    if len(before) == len(after):
        moved = (before != after).any(axis=1)
        return PointChanges(before[moved], after[moved], none, none)
    rows = np.dtype((np.void, before.dtype.itemsize * 3))
    # Adding 0 turns -0.0 into 0.0, which compare equal but differ in their bytes.
    keys_before = (before + 0).view(rows).ravel()
    keys_after = (after + 0).view(rows).ravel()
    return PointChanges(
        none,
        none,
        after[~np.isin(keys_after, keys_before)],
        before[~np.isin(keys_before, keys_after)],
    )


def paint_changes(
    canvas: np.ndarray,
    changes: PointChanges,
    cam_T_sensor: np.ndarray,
    pixels_of: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Mark changed points: a line from old to new, + for added, × for removed.

    Args:
        canvas: Painted in place.
        changes: In the sensor's frame.
        cam_T_sensor: (4, 4) transform to the cam frame.
        pixels_of: Maps (…, 3) cam points to (…, 2) pixels of the canvas.
    """
    size_px = max(2.0, canvas.shape[1] / 200)

    def pixels(points: np.ndarray) -> np.ndarray:
        return pixels_of(transform_points(cam_T_sensor, points))

    moved = np.stack([pixels(changes.moved_from), pixels(changes.moved_to)], axis=1)
    for kind, segments in (
        ("moved", moved),
        ("removed", _marks(pixels(changes.removed), "cross", size_px)),
        ("added", _marks(pixels(changes.added), "plus", size_px)),
    ):
        smooth = len(segments) <= _MANY
        if smooth and kind != "moved":
            paint_segments(canvas, segments, BLACK, 4)
        thickness_px = 2 if len(segments) <= _FEW else 1
        paint_segments(canvas, segments, MARKS[kind][1], thickness_px, smooth=smooth)


def change_legend(
    changes: Sequence[PointChanges], width: int, *, text_px: int
) -> np.ndarray:
    """What the marks mean and how many points they stand for."""
    fine_px = small(text_px)
    high = round(1.6 * line_height(fine_px))
    canvas, x = new_canvas(high, width, NO_RETURN), fine_px
    for kind, (mark, colour) in MARKS.items():
        total = sum(change.count(kind) for change in changes)
        centre = np.array([[x + fine_px / 2, high / 2]])
        paint_segments(canvas, _marks(centre, mark, fine_px / 3), colour, 2)
        text = f"{kind} {total:,}"
        x += round(1.4 * fine_px)
        y = (high - line_height(fine_px)) / 2
        paint_text(canvas, text, (x, y), fine_px, (225,) * 3)
        x += text_width(text, fine_px) + 2 * fine_px
    return canvas


def _marks(pixels: np.ndarray, mark: str, size_px: float) -> np.ndarray:
    """(K, 2, 2) strokes of one mark at each of (P, 2) pixels."""
    strokes = {
        "plus": [[[-1, 0], [1, 0]], [[0, -1], [0, 1]]],
        "cross": [[[-1, -1], [1, 1]], [[-1, 1], [1, -1]]],
        "line": [[[-1, 0], [1, 0]]],
    }
    offsets = size_px * np.array(strokes[mark], dtype=np.float64)
    return (pixels[:, None, None, :] + offsets).reshape(-1, 2, 2)
