"""2D and 3D boxes drawn over a picture, styled by what they mean.

Shape letters: H, W image height and width; N objects; M segments.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from perception.core.geometry import box_corners, project_to_image
from perception.core.structures import Calibration, Objects
from perception.visualization.canvas import (
    box_segments,
    line_height,
    paint_rectangle,
    paint_styled,
    paint_text,
    small,
    text_width,
)
from perception.visualization.palette import (
    BOX_STYLES,
    INK,
    WHITE,
    LineStyle,
    text_colour_on,
)

# Edges of a box whose corners are in the order of ``box_corners``.
_EDGES = np.array(
    [
        *([0, 1], [1, 2], [2, 3], [3, 0]),
        *([4, 5], [5, 6], [6, 7], [7, 4]),
        *([0, 4], [1, 5], [2, 6], [3, 7]),
    ]
)
_NEAR_M = 0.3


@dataclass(frozen=True)
class BoxLayer:
    """Objects to draw and what each of them is.

    Attributes:
        objects: N labelled or detected objects.
        status: A key of ``palette.BOX_STYLES``, for all or (N,) one for each.
        tagged: Whether 2D boxes carry their class and score.
    """

    objects: Objects
    status: str | Sequence[str] = "ground_truth"
    tagged: bool = True

    def statuses(self) -> np.ndarray:
        """(N,) the status of each object."""
        status = self.status
        if isinstance(status, str):
            status = [status] * len(self.objects)
        if len(status) != len(self.objects):
            raise ValueError(
                f"status must be one for each of {len(self.objects)} objects, "
                f"got {len(status)}"
            )
        unknown = sorted(set(status) - set(BOX_STYLES))
        if unknown:
            raise ValueError(f"status must be in {list(BOX_STYLES)}, got {unknown}")
        return np.array(status, dtype=object)

    def by_style(self) -> Iterator[tuple[LineStyle, Objects]]:
        """The objects of each style that occurs, least important first."""
        statuses = self.statuses()
        for status in sorted(set(statuses), key=["ignored", *BOX_STYLES].index):
            yield BOX_STYLES[status], self.objects.select(statuses == status)


def truth_layer(objects: Objects, ignored: Collection[str]) -> BoxLayer:
    """Ground truth, with the classes that evaluation ignores drawn as such."""
    names = [str(name) for name in objects.names]
    return BoxLayer(
        objects, ["ignored" if name in ignored else "ground_truth" for name in names]
    )


def draw_boxes(
    image: np.ndarray,
    layers: Sequence[BoxLayer],
    *,
    scale: float = 1.0,
    text_px: int = 16,
) -> np.ndarray:
    """Draw 2D boxes on a copy of the image, tagged where there is room.

    Args:
        image: (H, W, 3) uint8 RGB.
        layers: Drawn in order, later ones on top; tags above all of them.
        scale: Size of ``image`` relative to the image that the boxes are of.
        text_px: Text size of the sheet; tags are a little smaller.
    """
    canvas = image.copy()
    styled = [
        (style, objects, _pixel_edges(objects.boxes_px * scale), layer.tagged)
        for layer in layers
        for style, objects in layer.by_style()
    ]
    for style, _, boxes, _ in styled:
        style = style.for_width(canvas.shape[1])
        thick = style.thickness_px > 1
        paint_styled(canvas, box_segments(boxes), style, smooth=thick)
    taken = np.zeros((0, 4))
    for style, objects, boxes, tagged in reversed(styled):
        if tagged and style.tagged:
            taken = _paint_tags(canvas, style, objects, boxes, taken, text_px)
    return canvas


def draw_boxes_3d(
    image: np.ndarray,
    layers: Sequence[BoxLayer],
    calibration: Calibration,
    *,
    scale: float = 1.0,
) -> np.ndarray:
    """Draw the 3D boxes, where known, as wire frames on a copy of the image."""
    canvas = image.copy()
    for layer in layers:
        for style, objects in layer.by_style():
            segments = _segments_in_front(corners_of(objects)[:, _EDGES])
            pixels, _ = project_to_image(calibration.image_P_cam, segments)
            paint_styled(canvas, (pixels + 0.5) * scale - 0.5, style.thin())
    return canvas


def corners_of(objects: Objects) -> np.ndarray:
    """(K, 8, 3) cam-frame corners of the objects whose 3D box is known."""
    known = (objects.dimensions_m > 0).all(axis=1) & (objects.rotation_y > -9)
    known &= (objects.location_m > -999).all(axis=1)
    with_box = objects.select(known)
    return box_corners(with_box.dimensions_m, with_box.location_m, with_box.rotation_y)


def _pixel_edges(boxes_px: np.ndarray) -> np.ndarray:
    """First and last whole pixel of (N, 4) boxes measured from the image's edge.

    Lines between pixels would blend with their casing, and look dull.
    """
    return np.hstack([np.floor(boxes_px[:, :2]), np.ceil(boxes_px[:, 2:]) - 1])


def _segments_in_front(segments_cam: np.ndarray) -> np.ndarray:
    """The parts of segments (…, 2, 3) in front of the camera, as (M, 2, 3)."""
    segments = segments_cam.reshape(-1, 2, 3)
    z = segments[..., 2]
    segments = segments[(z > _NEAR_M).any(axis=1)]
    start, end = segments[:, :1], segments[:, 1:]
    rise = end[..., 2:] - start[..., 2:]
    share = (_NEAR_M - start[..., 2:]) / np.where(rise == 0, 1, rise)
    cut = start + np.clip(share, 0, 1) * (end - start)
    return np.where(segments[..., 2:] < _NEAR_M, cut, segments)


def _paint_tags(
    canvas: np.ndarray,
    style: LineStyle,
    objects: Objects,
    boxes: np.ndarray,
    taken: np.ndarray,
    text_px: int,
) -> np.ndarray:
    """Tag the boxes, largest first, where no other tag is; return all taken places."""
    fine_px = small(text_px)
    high, pad = line_height(fine_px), max(2, fine_px // 4)
    frame_size = np.array([canvas.shape[1], canvas.shape[0]])
    back = INK if style.colour == WHITE else style.colour
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    for i in np.argsort(-areas, kind="stable"):
        text = str(objects.names[i])
        if objects.scores is not None:
            text += f" {objects.scores[i]:.2f}"
        tag_size = np.array([text_width(text, fine_px) + 2 * pad, high])
        if not np.isfinite(boxes[i]).all() or (tag_size > frame_size).any():
            continue
        x1, y1, x2, y2 = boxes[i]
        above, right = y1 - high - 1, x2 - tag_size[0]
        corners = np.array([[x1, above], [right, above], [x1, y2 + 2]])
        corners = np.clip(corners, 0, frame_size - tag_size).round()
        spots = np.hstack([corners, corners + tag_size])
        apart = (spots[:, None, :2] >= taken[None, :, 2:]) | (
            spots[:, None, 2:] <= taken[None, :, :2]
        )
        free = np.flatnonzero(apart.any(axis=2).all(axis=1))
        if len(free):
            left, top, right, bottom = spots[free[0]].astype(int)
            taken = np.vstack([taken, spots[free[0]]])
            paint_rectangle(canvas, (left, top, right, bottom), back, alpha=0.8)
            ink = text_colour_on(back)
            paint_text(canvas, text, (left + pad, top), fine_px, ink)
    return taken
