"""The scene from above: points by height, 3D boxes, range rings, field of view.

The view is the cam frame's ground plane: right is x, up is z (forward), in metres.

Shape letters: P points; N objects; M segments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from perception.core.geometry import transform_points
from perception.core.structures import Calibration
from perception.visualization.boxes import BoxLayer, corners_of
from perception.visualization.canvas import (
    line_height,
    new_canvas,
    paint_dots,
    paint_rectangle,
    paint_segments,
    paint_styled,
    paint_text,
    small,
    text_px_for,
    text_width,
)
from perception.visualization.changes import PointChanges, paint_changes
from perception.visualization.palette import (
    GUIDE,
    HEIGHT_SCALE,
    NO_RETURN,
    WHITE,
    ColourScale,
    LineStyle,
    Rgb,
)
from perception.visualization.sheet import titled

_RING_TEXT: Rgb = (176, 179, 190)
_RING_STEPS_M = (1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class GroundView:
    """Metres on the ground to pixels of a view from above.

    Attributes:
        size: (H, W) of the view in pixels.
        forward_m: Distance ahead at the lower and at the upper edge.
    """

    size: tuple[int, int]
    forward_m: tuple[float, float]

    @property
    def px_per_m(self) -> float:
        """Scale, the same in both directions."""
        return self.size[0] / (self.forward_m[1] - self.forward_m[0])

    def pixels(self, points_cam: np.ndarray) -> np.ndarray:
        """(…, 2) x, y in pixels of (…, 3) cam points."""
        x = self.size[1] / 2 + points_cam[..., 0] * self.px_per_m
        y = (self.forward_m[1] - points_cam[..., 2]) * self.px_per_m
        return np.stack([x, y], axis=-1) - 0.5


def bev_panel(
    calibration: Calibration,
    *,
    size: tuple[int, int],
    points: Mapping[str, np.ndarray] | None = None,
    layers: Sequence[BoxLayer] = (),
    changes: Mapping[str, PointChanges] | None = None,
    image_size: tuple[int, int] | None = None,
    forward_m: tuple[float, float] = (-4.0, 70.0),
    title: str = "",
    text_px: int | None = None,
) -> np.ndarray:
    """A bird's-eye view of one frame.

    Args:
        calibration: Carries every point sensor to the cam frame.
        size: (H, W) of the view in pixels, without the title's strip.
        points: For each point sensor its (P, 3 + F) array in its own frame.
        layers: Objects; those with a known 3D box are drawn, with their heading.
        changes: For each attacked point sensor what became of its points.
        image_size: (H, W) of the reference image; draws its field of view.
        forward_m: Distance ahead at the lower and at the upper edge.
        title: Title of the panel; none, no strip.
        text_px: Text size, by default that of a sheet of this width.
    """
    text_px = text_px or text_px_for(size[1])
    view = GroundView((max(1, size[0]), max(1, size[1])), forward_m)
    canvas = new_canvas(*view.size, NO_RETURN)
    if image_size is not None:
        _paint_field_of_view(canvas, view, calibration, image_size)
    rings_m = _ring_radii(view)
    _paint_rings(canvas, view, rings_m)
    # Marks must stand out: points that an attack left alone are then grey.
    scale = replace(HEIGHT_SCALE, colour_map="grey") if changes else HEIGHT_SCALE
    for name, cloud in (points or {}).items():
        _paint_points(canvas, view, calibration.cam_T_sensor[name], cloud, scale)
    for name, change in (changes or {}).items():
        paint_changes(canvas, change, calibration.cam_T_sensor[name], view.pixels)
    for layer in layers:
        for style, objects in layer.by_style():
            segments = _footprint_segments(corners_of(objects))
            paint_styled(canvas, view.pixels(segments), style.for_width(size[1]))
    _paint_ring_labels(canvas, view, rings_m, small(text_px))
    _paint_camera(canvas, view)
    if not title:
        return canvas
    if not points:
        return titled(canvas, title, text_px=text_px)
    note = "height over camera"
    return titled(canvas, title, text_px=text_px, scale=scale, note=note)


def _ring_radii(view: GroundView) -> np.ndarray:
    """Round radii in metres, four to eight of them."""
    reach = max(map(abs, view.forward_m))
    step = next((s for s in _RING_STEPS_M if reach / s <= 8), 200)
    return np.arange(step, reach + 1e-9, step)


def _paint_rings(canvas: np.ndarray, view: GroundView, radii_m: np.ndarray) -> None:
    angles = np.linspace(-math.pi, math.pi, 181)
    circle = np.stack([np.sin(angles), np.zeros_like(angles), np.cos(angles)], axis=-1)
    for radius in radii_m:
        pixels = view.pixels(circle * radius)
        paint_segments(canvas, np.stack([pixels[:-1], pixels[1:]], axis=1), GUIDE)


def _paint_ring_labels(
    canvas: np.ndarray, view: GroundView, radii_m: np.ndarray, text_px: int
) -> None:
    """Write each ring's radius on it, to the right of the field of view."""
    half_m = view.size[1] / 2 / view.px_per_m
    free_below = math.inf
    for radius in radii_m:
        label = f"{radius:g} m"
        wide, high = text_width(label, text_px) + 6, line_height(text_px)
        edge_m = half_m - wide / view.px_per_m
        right_m = min(radius * math.sin(math.radians(60)), edge_m)
        if not 0 < right_m < radius:
            continue
        ahead_m = math.sqrt(radius**2 - right_m**2)
        x, y = view.pixels(np.array([right_m, 0.0, ahead_m]))
        top = y - high / 2
        if not 0 <= top <= view.size[0] - high or top + high > free_below:
            continue
        free_below = top - 2
        box = (round(x), round(top), round(x) + wide, round(top) + high)
        paint_rectangle(canvas, box, NO_RETURN, alpha=0.75)
        paint_text(canvas, label, (x + 3, top), text_px, _RING_TEXT)


def _paint_points(
    canvas: np.ndarray,
    view: GroundView,
    cam_T_sensor: np.ndarray,
    points: np.ndarray,
    scale: ColourScale,
) -> None:
    """Points coloured by height over the camera, high ones on top."""
    points_cam = transform_points(cam_T_sensor, np.asarray(points)[:, :3])
    height_m = -points_cam[:, 1]
    order = np.argsort(height_m, kind="stable")
    colours = scale.colours(scale.levels(height_m[order]))
    few = len(points) < 2000
    dot_px = max(1, round(view.size[1] / (150 if few else 280)))
    paint_dots(canvas, view.pixels(points_cam[order]), colours, dot_px)


def _footprint_segments(corners_cam: np.ndarray) -> np.ndarray:
    """(M, 2, 3) outlines of boxes from above, with an arrow to their front."""
    bottom = corners_cam[:, :4]
    outline = np.stack([bottom, np.roll(bottom, -1, axis=1)], axis=2)
    centre = bottom.mean(axis=1)
    front = bottom[:, :2].mean(axis=1)
    tip = centre + 1.5 * (front - centre)
    heading = np.stack([centre, tip], axis=1)[:, None]
    return np.concatenate([outline, heading], axis=1).reshape(-1, 2, 3)


def _paint_field_of_view(
    canvas: np.ndarray,
    view: GroundView,
    calibration: Calibration,
    image_size: tuple[int, int],
) -> None:
    """The two rays through the image's left and right edge, and a lighter wedge."""
    P = calibration.image_P_cam
    edges_px = np.array([-0.5, image_size[1] - 0.5])
    slopes = (edges_px - P[0, 2]) / P[0, 0]
    low, high = np.sort(slopes)
    rows, columns = np.ogrid[: view.size[0], : view.size[1]]
    z = view.forward_m[1] - (rows + 0.5) / view.px_per_m
    x = (columns + 0.5 - view.size[1] / 2) / view.px_per_m
    canvas[(x >= low * z) & (x <= high * z) & (z > 0)] = (
        np.array(NO_RETURN, dtype=np.uint8) + 12
    )
    far = view.forward_m[1] * 2
    rays = np.array([[[0, 0, 0], [slope * far, 0, far]] for slope in slopes])
    dashed = LineStyle("", GUIDE, dash_px=(6, 5), thickness_px=1, cased=False)
    paint_styled(canvas, view.pixels(rays), dashed)


def _paint_camera(canvas: np.ndarray, view: GroundView) -> None:
    """A small arrowhead where the camera stands."""
    side_m = max(1.0, 7 / view.px_per_m)
    outline = np.array([[0, 0, 1.0], [0.55, 0, -0.6], [-0.55, 0, -0.6]]) * side_m
    pixels = view.pixels(outline)
    paint_segments(canvas, np.stack([pixels, np.roll(pixels, -1, axis=0)], 1), WHITE, 2)
