"""The scene from above: points by height, 3D boxes, range rings, field of view.

The view is the cam frame's ground plane: right is x, up is z (forward), in metres.

Shape letters: P points; K corners of a polyline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from perception.core.geometry import transform_points
from perception.core.structures import Calibration
from perception.visualization.boxes import BoxLayer, corners_of
from perception.visualization.images import paint_dots
from perception.visualization.scene import PointChanges
from perception.visualization.sheet import Area, Sheet
from perception.visualization.style import (
    ARROW,
    CHANGE_COLOURS,
    GUIDE,
    HEIGHT_SCALE,
    NO_RETURN,
    REGION,
    WHITE,
    LineStyle,
    line_height,
    text_width,
)

_SHORTEST_M = 0.3
_RING_STEPS_M = (1, 2, 5, 10, 20, 50, 100)
# More crosses or lines of a kind would hide the view: then points are dots, and of
# lines every so many-th is drawn.
MOST_MARKS = 400
_MARKS = {
    "added": np.array([[[-1, 0], [1, 0]], [[0, -1], [0, 1]]]),
    "removed": np.array([[[-1, -1], [1, 1]], [[-1, 1], [1, -1]]]),
}


@dataclass(frozen=True)
class GroundView:
    """Metres on the ground to pixels of a view from above.

    Attributes:
        size: (H, W) of the view in pixels.
        forward_m: Distance ahead at the lower and at the upper edge.
    """

    size: tuple[int, int]
    forward_m: tuple[float, float] = (-4.0, 70.0)

    @property
    def px_per_m(self) -> float:
        """Scale, the same in both directions."""
        return self.size[0] / (self.forward_m[1] - self.forward_m[0])

    def pixels(self, points_cam: np.ndarray) -> np.ndarray:
        """(…, 2) x, y in pixels, from the edge, of (…, 3) cam points."""
        x = self.size[1] / 2 + points_cam[..., 0] * self.px_per_m
        y = (self.forward_m[1] - points_cam[..., 2]) * self.px_per_m
        return np.stack([x, y], axis=-1)


def draw_bev(
    sheet: Sheet,
    area: Area,
    calibration: Calibration,
    *,
    points: Mapping[str, np.ndarray] | None = None,
    layers: Sequence[BoxLayer] = (),
    changes: Mapping[str, PointChanges] | None = None,
    arrows: np.ndarray | None = None,
    regions: Sequence[np.ndarray] = (),
    image_size: tuple[int, int] | None = None,
    forward_m: tuple[float, float] = (-4.0, 70.0),
    grey: bool = False,
) -> None:
    """A bird's-eye view of one frame.

    Args:
        sheet: Where to draw.
        area: Of the view.
        calibration: Carries every point sensor to the cam frame.
        points: For each point sensor its (P, 3 + F) array in its own frame.
        layers: Objects; those with a known 3D box are drawn, with their heading.
        changes: For each attacked point sensor what became of its points.
        arrows: (K, 2, 3) cam-frame places that objects were moved from and to.
        regions: (K, 2) x, z in metres of polygons to outline.
        image_size: (H, W) of the reference image; draws its field of view.
        forward_m: Distance ahead at the lower and at the upper edge.
        grey: Points have no colours, so that all else stands out.
    """
    view = GroundView((area.height, area.width), forward_m)
    picture = np.full((*view.size, 3), NO_RETURN, dtype=np.uint8)
    rays = np.zeros((0, 2, 3))
    if image_size is not None:
        rays = _paint_field_of_view(picture, view, calibration, image_size)
    # Marks must stand out: points that an attack left alone are then grey.
    scale = (
        replace(HEIGHT_SCALE, colour_map="grey") if changes or grey else HEIGHT_SCALE
    )
    few = sum(map(len, (points or {}).values())) < 2000
    dot_px = max(1, round(area.width / (150 if few else 280)))
    for name, cloud in (points or {}).items():
        cam_T_sensor = calibration.cam_T_sensor[name]
        points_cam = transform_points(cam_T_sensor, np.asarray(cloud)[:, :3])
        # High ones on top.
        points_cam = points_cam[np.argsort(-points_cam[:, 1], kind="stable")]
        colours = scale.colours(scale.levels(-points_cam[:, 1]))
        paint_dots(picture, view.pixels(points_cam) - 0.5, colours, dot_px)
    for name, change in (changes or {}).items():
        for kind in ("removed", "added"):
            cloud = getattr(change, kind)
            if len(cloud) > MOST_MARKS:
                at = transform_points(calibration.cam_T_sensor[name], cloud)
                colour = np.array([CHANGE_COLOURS[kind]])
                paint_dots(picture, view.pixels(at) - 0.5, colour, dot_px)
    sheet.paste(area.x, area.y, picture)

    def draw(paths_cam: Sequence[np.ndarray] | np.ndarray, style: LineStyle) -> None:
        paths = [view.pixels(np.asarray(path)) + area[:2] for path in paths_cam]
        sheet.lines(paths, style, clip=area)

    guide = LineStyle("", GUIDE, thickness_px=1.4, cased=False)
    draw(rays, replace(guide, dash_px=(6, 5)))
    radii_m = _ring_radii(view)
    angles = np.linspace(-math.pi, math.pi, 181)
    circle = np.stack([np.sin(angles), np.zeros_like(angles), np.cos(angles)], axis=-1)
    draw([circle * radius for radius in radii_m], guide)
    for name, change in (changes or {}).items():
        _draw_changes(sheet, area, view, change, calibration.cam_T_sensor[name])
    for layer in layers:
        for style, objects in layer.by_style(area.width):
            draw(_footprints(corners_of(objects)), style.between(1.6, 2.6))
    for outline in regions:
        draw([_ring(outline)], LineStyle("", REGION, thickness_px=2))
    if arrows is not None:
        draw(_arrows(arrows), LineStyle("", ARROW, thickness_px=2.5))
    _draw_ring_labels(sheet, area, view, radii_m)
    side_m = max(1.0, 7 / view.px_per_m)
    arrow = [
        [0, 0, 1.0],
        [0.55, 0, -0.6],
        [-0.55, 0, -0.6],
        [0, 0, 1.0],
        [0.55, 0, -0.6],
    ]
    draw([side_m * np.array(arrow)], LineStyle("", WHITE, thickness_px=2.5))


def one_line_in(changes: Mapping[str, PointChanges]) -> int:
    """One line in so many is drawn for points that moved."""
    moved = max((change.count("moved") for change in changes.values()), default=0)
    return max(1, -(-moved // MOST_MARKS))


def _draw_changes(
    sheet: Sheet,
    area: Area,
    view: GroundView,
    change: PointChanges,
    cam_T_sensor: np.ndarray,
) -> None:
    """A line from old to new for moved points, + for added, × for removed ones."""
    size_px = max(2.0, area.width / 200)

    def places(points: np.ndarray) -> np.ndarray:
        return view.pixels(transform_points(cam_T_sensor, points)) + area[:2]

    step = one_line_in({"": change})
    ends = (change.moved_from[::step], change.moved_to[::step])
    moved = np.stack([places(end) for end in ends], axis=1)
    style = LineStyle("", CHANGE_COLOURS["moved"], thickness_px=1, cased=False)
    sheet.lines(moved, style, clip=area, alpha=0.7 if len(moved) > 100 else 1.0)
    for kind, strokes in _MARKS.items():
        cloud = getattr(change, kind)
        if len(cloud) <= MOST_MARKS:
            marks = places(cloud)[:, None, None] + size_px * strokes
            thick = 2 if len(cloud) <= 300 else 1
            style = LineStyle("", CHANGE_COLOURS[kind], thickness_px=thick)
            sheet.lines(marks.reshape(-1, 2, 2), style, clip=area)


def _ring_radii(view: GroundView) -> np.ndarray:
    """Round radii in metres, four to eight of them."""
    reach = max(map(abs, view.forward_m))
    step = next((s for s in _RING_STEPS_M if reach / s <= 8), 200)
    return np.arange(step, reach + 1e-9, step)


def _draw_ring_labels(
    sheet: Sheet, area: Area, view: GroundView, radii_m: np.ndarray
) -> None:
    """Write each ring's radius on it, to the right of the field of view."""
    px, half_m, free_below = sheet.fine_px, area.width / 2 / view.px_per_m, math.inf
    for radius in radii_m:
        label = f"{radius:g} m"
        wide, high = round(text_width(label, px)) + 6, line_height(px)
        edge_m = half_m - wide / view.px_per_m
        right_m = min(radius * math.sin(math.radians(60)), edge_m)
        if not 0 < right_m < radius:
            continue
        ahead_m = math.sqrt(radius**2 - right_m**2)
        x, y = view.pixels(np.array([right_m, 0.0, ahead_m]))
        top = y - high / 2
        if not 0 <= top <= area.height - high or top + high > free_below:
            continue
        free_below = top - 2
        box = Area(area.x + round(x), area.y + round(top), wide, high)
        sheet.fill(box, NO_RETURN, alpha=0.75)
        sheet.text((box.x + 3, box.y), label, px, (176, 179, 190))


def _footprints(corners_cam: np.ndarray) -> list[np.ndarray]:
    """(K, 3) outlines of boxes from above, and arrows to their fronts."""
    bottom = corners_cam[:, :4]
    centre, front = bottom.mean(axis=1), bottom[:, :2].mean(axis=1)
    arrows = np.stack([centre, centre + 1.5 * (front - centre)], axis=1)
    return [*bottom[:, [0, 1, 2, 3, 0]], *arrows]


def _ring(outline: np.ndarray) -> np.ndarray:
    """(K, 2) x, z of a polygon to the closed path (K + 1, 3) on the ground."""
    x, z = np.concatenate([outline, outline[:1]]).T
    return np.stack([x, np.zeros_like(x), z], axis=1)


def _arrows(places_cam: np.ndarray) -> list[np.ndarray]:
    """(K, 2, 3) to lines with heads; those shorter than 0.3 m are left out."""
    lines = []
    for start, end in places_cam:
        way = end - start
        length_m = float(np.hypot(way[0], way[2]))
        if length_m < _SHORTEST_M:
            continue
        head_m = min(1.0, length_m / 2)
        along = way * np.array([1, 0, 1]) / length_m * head_m
        across = np.array([-along[2], 0, along[0]]) / 2
        sides = end - along + across, end - along - across
        lines.append(np.array([start, end, sides[0], end, sides[1]]))
    return lines


def _paint_field_of_view(
    picture: np.ndarray,
    view: GroundView,
    calibration: Calibration,
    image_size: tuple[int, int],
) -> np.ndarray:
    """Lighten what the image shows; (2, 2, 3) rays through its left and right edge."""
    P = calibration.image_P_cam
    edges_px = np.array([-0.5, image_size[1] - 0.5])
    slopes = (edges_px - P[0, 2]) / P[0, 0]
    low, high = np.sort(slopes)
    rows, columns = np.ogrid[: view.size[0], : view.size[1]]
    z = view.forward_m[1] - (rows + 0.5) / view.px_per_m
    x = (columns + 0.5 - view.size[1] / 2) / view.px_per_m
    picture[(x >= low * z) & (x <= high * z) & (z > 0)] += 12
    far = view.forward_m[1] * 2
    return np.array([[[0, 0, 0], [slope * far, 0, far]] for slope in slopes])
