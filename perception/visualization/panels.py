"""One sensor, one picture: images, points and depth maps as the sensor gives them.

Every ``*_panel`` returns a new (H', width, 3) uint8 RGB array; given a ``title``, it
carries a strip with the title and, for quantities, a colour bar with its unit.

Shape letters: H, W height and width; C channels; P points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from perception.core.geometry import project_to_image, transform_points
from perception.core.structures import Calibration
from perception.visualization.boxes import BoxLayer, draw_boxes, draw_boxes_3d
from perception.visualization.canvas import new_canvas, paint_dots, text_px_for
from perception.visualization.palette import (
    DEPTH_SCALE,
    NO_RETURN,
    ColourScale,
)
from perception.visualization.sheet import titled


def as_rgb(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of an (H, W), (H, W, 1) or (H, W, ≥3) picture in 0 … 255."""
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or not image.size:
        raise ValueError(f"image must be (H, W, C), got {image.shape}")
    if image.dtype != np.uint8:
        # NaN compares false: it becomes black, as values below 0 do.
        positive = np.where(image > 0, image, 0)
        image = np.rint(np.minimum(positive, 255)).astype(np.uint8)
    grey = image.shape[2] < 3
    return np.repeat(image[..., :1], 3, axis=2) if grey else image[..., :3]


def panel_size(size: Sequence[int], width: int) -> tuple[int, int]:
    """(H, W) of an image of ``size`` (H, W, …) brought to ``width``."""
    return max(1, round(size[0] * width / size[1])), width


def image_panel(
    image: np.ndarray,
    *,
    width: int,
    layers: Sequence[BoxLayer] = (),
    layers_3d: Sequence[BoxLayer] = (),
    calibration: Calibration | None = None,
    title: str = "",
    text_px: int | None = None,
) -> np.ndarray:
    """A picture with 2D boxes and, given a calibration, 3D boxes.

    Args:
        image: (H, W, C) in 0 … 255.
        width: Width of the panel in pixels.
        layers: Objects drawn as 2D boxes.
        layers_3d: Objects drawn as 3D boxes.
        calibration: Fits the image; needed for 3D boxes only.
        title: Title of the panel; none, no strip.
        text_px: Text size, by default that of a sheet of this width.
    """
    text_px = text_px or text_px_for(width)
    image = as_rgb(image)
    scale = width / image.shape[1]
    panel = _resized(image, panel_size(image.shape, width))
    if calibration is not None:
        panel = draw_boxes_3d(panel, layers_3d, calibration, scale=scale)
    panel = draw_boxes(panel, layers, scale=scale, text_px=text_px)
    return titled(panel, title, text_px=text_px) if title else panel


def points_panel(
    points: np.ndarray,
    cam_T_sensor: np.ndarray,
    calibration: Calibration,
    image_size: tuple[int, int],
    *,
    width: int,
    backdrop: np.ndarray | None = None,
    layers_3d: Sequence[BoxLayer] = (),
    scale: ColourScale = DEPTH_SCALE,
    title: str = "",
    text_px: int | None = None,
) -> np.ndarray:
    """Points as the camera would see them, coloured by depth, near ones on top.

    Args:
        points: (P, 3 + F) x, y, z in metres in the sensor's frame.
        cam_T_sensor: (4, 4) transform to the cam frame.
        calibration: Projects to the reference image.
        image_size: (H, W) of the reference image.
        width: Width of the panel in pixels.
        backdrop: Reference image to show dimmed behind the points.
        layers_3d: Objects drawn as 3D boxes.
        scale: Colours of the depth in metres.
        title: Title of the panel; none, no strip.
        text_px: Text size, by default that of a sheet of this width.
    """
    size, factor = panel_size(image_size, width), width / image_size[1]
    panel = new_canvas(*size, NO_RETURN)
    if backdrop is not None:
        grey = cv2.cvtColor(_resized(as_rgb(backdrop), size), cv2.COLOR_RGB2GRAY)
        panel = np.repeat((grey * 0.38).astype(np.uint8)[..., None], 3, axis=2)
    points_cam = transform_points(cam_T_sensor, np.asarray(points)[:, :3])
    points_cam = points_cam[points_cam[:, 2] > 0.1]
    pixels, depth_m = project_to_image(calibration.image_P_cam, points_cam)
    pixels = (pixels + 0.5) * factor - 0.5
    inside = ((pixels >= -1) & (pixels <= [size[1], size[0]])).all(axis=1)
    pixels, depth_m = pixels[inside], depth_m[inside]
    order = np.argsort(-depth_m, kind="stable")
    colours = scale.colours(scale.levels(depth_m[order]))
    area = size[0] * size[1] / max(1, len(order))
    dot_px = int(np.clip(round(0.45 * math.sqrt(area)), 1, max(2, width // 200)))
    paint_dots(panel, pixels[order], colours, dot_px)
    panel = draw_boxes_3d(panel, layers_3d, calibration, scale=factor)
    return finish(panel, title, text_px, scale)


def depth_panel(
    depth_m: np.ndarray,
    *,
    width: int,
    scale: ColourScale = DEPTH_SCALE,
    title: str = "",
    text_px: int | None = None,
) -> np.ndarray:
    """An (H, W) depth map in metres, near is bright, no return (0) dark grey."""
    levels = scale.levels(depth_m, np.asarray(depth_m) > 0)
    return finish(colour_levels(levels, width, scale), title, text_px, scale)


def finish(
    panel: np.ndarray, title: str, text_px: int | None, scale: ColourScale
) -> np.ndarray:
    """Add the strip, if there is a title."""
    text_px = text_px or text_px_for(panel.shape[1])
    return titled(panel, title, text_px=text_px, scale=scale) if title else panel


def colour_levels(levels: np.ndarray, width: int, scale: ColourScale) -> np.ndarray:
    """Bring (H, W) levels to a width, keeping lone bright pixels, and colour them."""
    size = panel_size(levels.shape, width)
    reach = math.ceil(levels.shape[1] / width - 1e-9)
    if reach > 1:
        # Nearest-neighbour shrinking would drop single returns: grow them first.
        kernel = np.ones((reach, reach), dtype=np.uint8)
        if scale.colour_map == "diverging":
            above = cv2.dilate(np.maximum(levels, 128), kernel)
            below = cv2.erode(np.minimum(levels, 128), kernel)
            rise, fall = above.astype(np.int16) - 128, 128 - below.astype(np.int16)
            # Of equal neighbours with opposite signs, the pixel's own sign decides.
            upward = (rise > fall) | ((rise == fall) & (levels >= 128))
            levels = np.where(upward, above, below)
        else:
            levels = cv2.dilate(levels, kernel)
    shrunk = cv2.resize(levels, size[::-1], interpolation=cv2.INTER_NEAREST)
    return scale.colours(shrunk)


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A resized copy: averaged when it shrinks, interpolated when it grows."""
    shrinks = size[1] < image.shape[1]
    kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, size[::-1], interpolation=kind)
