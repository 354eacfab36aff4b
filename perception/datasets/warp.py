"""Moving the pixels of a whole frame: pictures, depth maps, boxes, calibration.

A geometric change is one (3, 3) matrix that moves pixel centres. Points never move:
the calibration absorbs the change.

Shape letters: H, W image size in pixels, N objects.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from perception.core.structures import Frame


def warp_frame(frame: Frame, transform: np.ndarray, size: tuple[int, int]) -> Frame:
    """Move every pixel of a frame by ``transform`` into an image of ``size``.

    Args:
        frame: The frame; it is not changed.
        transform: (3, 3) affine transform of homogeneous pixel centres.
        size: (H, W) of the new image in pixels.

    Returns:
        The frame with images interpolated (area-averaged when shrunk), depth maps
        sampled at the nearest pixel (never mixing two surfaces), boxes clipped to
        the new image, and the calibration that fits.
    """
    sensors = {
        name: value
        if name in frame.calibration.cam_T_sensor
        else _warp(value, transform, size)
        for name, value in frame.sensors.items()
    }
    objects = frame.objects
    if objects is not None:
        boxes_px = warp_boxes(objects.boxes_px, transform, size)
        objects = replace(objects, boxes_px=boxes_px)
    return replace(
        frame,
        sensors=sensors,
        calibration=frame.calibration.with_image_transform(transform),
        image_size=size,
        objects=objects,
    )


def warp_boxes(
    boxes_px: np.ndarray, transform: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Bounds (N, 4) of the moved boxes, clipped to an image of ``size`` (H, W).

    Boxes are measured from the image's edge, as in MMDetection, so that resizing
    multiplies them; ``transform`` is of pixel centres, half a pixel further in.
    """
    corners = boxes_px.reshape(-1, 2, 2) - 0.5
    moved = corners @ transform[:2, :2].T + transform[:2, 2] + 0.5
    low, high = moved.min(axis=1), moved.max(axis=1)
    limit = np.array([size[1], size[0]], dtype=float)
    return np.concatenate([low.clip(0, limit), high.clip(0, limit)], axis=1)


def _warp(
    value: np.ndarray, transform: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Warp an (H, W, C) picture or an (H, W) depth map."""
    height, width = size
    if value.ndim == 2:
        flags = cv2.INTER_NEAREST
    else:
        flags = cv2.INTER_LINEAR
        value, transform = _shrink(value, transform)
    return cv2.warpAffine(value, transform[:2], (width, height), flags=flags)


def _shrink(image: np.ndarray, transform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Area-average a picture first where the transform makes it smaller."""
    scale = float(np.abs(transform[0, 0]))
    if scale >= 0.99:
        return image, transform
    height, width = image.shape[:2]
    small = (max(round(width * scale), 1), max(round(height * scale), 1))
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return shrunk, transform @ resize_transform((small[1], small[0]), (height, width))


def resize_transform(size: tuple[int, int], new_size: tuple[int, int]) -> np.ndarray:
    """(3, 3) transform of pixel centres that resizes (H, W) ``size`` to ``new_size``.

    Pixel centres lie at integers, so the image spans -0.5 … W - 0.5.
    """
    sy, sx = new_size[0] / size[0], new_size[1] / size[1]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
