"""2D and 3D boxes drawn over a picture on a sheet, styled by what they mean.

Shape letters: N objects; M segments.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from perception.core.geometry import box_corners, project_to_image
from perception.core.structures import Calibration, Objects
from perception.visualization.sheet import Area, Sheet
from perception.visualization.style import (
    BOX_STYLES,
    INK,
    WHITE,
    LineStyle,
    line_height,
    text_colour_on,
    text_width,
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
# Pictures narrower than this get thin lines: thick ones would hide much.
_THICK_FROM_PX = 450
_LARGE_TAGS_FROM_PX = 700
# A label's tag that covers so much of other boxes (each counts) is left out.
_MOST_HIDDEN = 0.5


@dataclass(frozen=True)
class BoxLayer:
    """Objects to draw and what each of them is.

    Attributes:
        objects: N labelled or detected objects.
        status: A key of ``style.BOX_STYLES``, for all or (N,) one for each.
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

    def by_style(self, width: int = 1600) -> Iterator[tuple[LineStyle, Objects]]:
        """The objects of each style that occurs, least important first.

        The styles are those for a picture of that width.
        """
        statuses = self.statuses()
        for status in sorted(set(statuses), key=["ignored", *BOX_STYLES].index):
            style = BOX_STYLES[status]
            style = style if width >= _THICK_FROM_PX else style.between(1, 2)
            yield style, self.objects.select(statuses == status)


def truth_layer(objects: Objects, ignored: Collection[str]) -> BoxLayer:
    """Ground truth, with the classes that evaluation ignores drawn as such."""
    names = [str(name) for name in objects.names]
    return BoxLayer(
        objects, ["ignored" if name in ignored else "ground_truth" for name in names]
    )


def tag_of(objects: Objects, number: int) -> str:
    """Class and, of a detection, score of one object."""
    name = str(objects.names[number])
    return name if objects.scores is None else f"{name} {objects.scores[number]:.2f}"


def draw_boxes(
    sheet: Sheet, area: Area, layers: Sequence[BoxLayer], *, scale: float = 1.0
) -> None:
    """Draw 2D boxes over a picture, tagged where there is room.

    Args:
        sheet: Where to draw.
        area: Of the picture.
        layers: Drawn in order, later ones on top; tags above all of them.
        scale: Size of the picture relative to the image that the boxes are of.
    """
    styled = []
    for layer in layers:
        for style, objects in layer.by_style(area.width):
            # Along whole pixels: lines between two would blend and look dull.
            edges = objects.boxes_px * scale
            edges = np.hstack([np.floor(edges[:, :2]), np.ceil(edges[:, 2:]) - 1])
            edges = (
                edges + np.array([area.x, area.y] * 2) + 0.5 * (style.thickness_px % 2)
            )
            outline = edges[:, [0, 1, 2, 1, 2, 3, 0, 3, 0, 1]].reshape(-1, 5, 2)
            sheet.lines(outline, style, clip=area)
            styled.append((style, objects, edges, layer.tagged))
    others = [edges for style, _, edges, _ in styled if style.tagged]
    crowd = np.vstack([np.zeros((0, 4)), *others])
    taken = np.zeros((0, 4))
    for style, objects, edges, tagged in reversed(styled):
        if tagged and style.tagged:
            taken = _draw_tags(sheet, area, style, objects, edges, crowd, taken)


def _draw_tags(
    sheet: Sheet,
    area: Area,
    style: LineStyle,
    objects: Objects,
    boxes: np.ndarray,
    crowd: np.ndarray,
    taken: np.ndarray,
) -> np.ndarray:
    """Tag the boxes, largest first; returns all places that are taken by tags.

    A tag stands beside its box where it hides least of other boxes. One that would
    touch another tag is left out, and so is a label's in a crowd: the line's style
    still tells what the box is.
    """
    px = (
        sheet.fine_px
        if area.width >= _LARGE_TAGS_FROM_PX
        else max(9, 0.85 * sheet.fine_px)
    )
    pad = max(2, int(px / 4))
    back = INK if style.colour == WHITE else style.colour
    low, high = np.array(area[:2]), np.array(area[:2]) + area[2:]
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    for i in np.argsort(-areas, kind="stable"):
        text = tag_of(objects, i)
        size = np.array([round(text_width(text, px)) + 2 * pad, line_height(px) + 1])
        if not np.isfinite(boxes[i]).all() or (size > high - low).any():
            continue
        x1, y1, x2, y2 = boxes[i]
        above, below, flush = y1 - size[1] - 1, y2 + 2, x2 - size[0]
        corners = [[x1, above], [flush, above], [x1, below], [flush, below]]
        corners += [[x2 + 2, y1], [x1 - size[0] - 2, y1]]
        places = np.clip(np.array(corners), low, high - size).round()
        spots = np.hstack([places, places + size])
        free = np.flatnonzero(~_overlaps(spots, taken, apart=2).any(axis=1))
        if len(free):
            hidden = _overlaps(spots[free], crowd).sum(axis=1)
            best = int((hidden + 0.05 * free).argmin())
            if objects.scores is None and hidden[best] > _MOST_HIDDEN:
                continue
            spot = spots[free[best]]
            taken = np.vstack([taken, spot])
            place = Area(int(spot[0]), int(spot[1]), int(size[0]), int(size[1]))
            sheet.fill(place, back, alpha=0.85)
            ink = text_colour_on(back)
            sheet.text((place.x + pad, place.y), text, px, ink)
    return taken


def _overlaps(ours: np.ndarray, theirs: np.ndarray, apart: float = 0.0) -> np.ndarray:
    """(A, B) share of each of (A, 4) boxes that each of (B, 4) covers.

    Boxes less than ``apart`` from each other count as overlapping.
    """
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2] - apart)
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:] + apart)
    sizes = np.prod(ours[:, 2:] - ours[:, :2], axis=1)
    return np.prod(np.maximum(high - low, 0), axis=2) / sizes[:, None]


def draw_boxes_3d(
    sheet: Sheet,
    area: Area,
    layers: Sequence[BoxLayer],
    calibration: Calibration,
    *,
    scale: float = 1.0,
) -> None:
    """Draw the 3D boxes, where known, as wire frames over a picture."""
    for layer in layers:
        for style, objects in layer.by_style():
            segments = _segments_in_front(corners_of(objects)[:, _EDGES])
            pixels, _ = project_to_image(calibration.image_P_cam, segments)
            places = (pixels + 0.5) * scale + area[:2]
            sheet.lines(places, style.between(1.6, 1.6), clip=area)


def corners_of(objects: Objects) -> np.ndarray:
    """(K, 8, 3) cam-frame corners of the objects whose 3D box is known."""
    known = (objects.dimensions_m > 0).all(axis=1) & (objects.rotation_y > -9)
    known &= (objects.location_m > -999).all(axis=1)
    with_box = objects.select(known)
    return box_corners(with_box.dimensions_m, with_box.location_m, with_box.rotation_y)


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
