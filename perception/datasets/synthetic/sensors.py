"""The sensor rig: a stereo camera with noise and exposure, in KITTI's arrangement.

Shape letters: H, W image height and width in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from perception.datasets.synthetic.rendering import Renderer
from perception.structures import Calibration

# KITTI's rig: focal length as a share of the width, baseline, and the left colour
# camera's offset from the reference (grey) camera.
FOCAL_SHARE = 0.58
BASELINE_M = 0.54
LEFT_OFFSET_M = 0.06


def rig(width: int, height: int) -> Calibration:
    """KITTI's sensor arrangement for an image of any size."""
    focal = FOCAL_SHARE * width
    intrinsic = np.array(
        [[focal, 0, 0.491 * width], [0, focal, 0.47 * height], [0, 0, 1.0]]
    )
    left = np.column_stack([intrinsic, intrinsic @ [LEFT_OFFSET_M, 0, 0]])
    right = np.column_stack([intrinsic, intrinsic @ [LEFT_OFFSET_M - BASELINE_M, 0, 0]])
    # The LiDAR's mount is never quite straight: roll, pitch and yaw of about half a
    # degree, as in KITTI's calibration.
    roll, pitch, yaw = np.radians([-0.4, 0.85, 0.3])
    tilt = (
        cv2.Rodrigues(np.array([0, 0, yaw]))[0]
        @ cv2.Rodrigues(np.array([0, pitch, 0]))[0]
        @ cv2.Rodrigues(np.array([roll, 0, 0]))[0]
    )
    axes = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]], float)
    cam_T_lidar = np.eye(4)
    cam_T_lidar[:3, :3] = axes @ tilt
    cam_T_lidar[:3, 3] = (-0.004, -0.076, -0.272)
    return Calibration(
        image_P_cam=left, cam_T_sensor={"lidar": cam_T_lidar}, right_P_cam=right
    )


def pixel_rays(projection: np.ndarray, pixels: np.ndarray):
    """Centre (3,) and unit rays (N, 3) of a camera at pixels (N, 2), cam frame."""
    inverse = np.linalg.inv(projection[:, :3])
    centre = -inverse @ projection[:, 3]
    homogeneous = np.column_stack([pixels, np.ones(len(pixels))])
    rays = homogeneous @ inverse.T
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    return centre.astype(np.float32), rays.astype(np.float32)


def pixel_grid(width: int, height: int) -> np.ndarray:
    """(H·W, 2) pixel centres u, v, row by row."""
    v, u = np.mgrid[:height, :width]
    return np.stack([u.ravel(), v.ravel()], 1).astype(np.float64)


@dataclass(frozen=True)
class View:
    """What one camera gathered before its electronics.

    Attributes:
        radiance: (H, W, 3) linear light.
        triangle: (H, W) triangle in each pixel's centre, -1 for the sky.
    """

    radiance: np.ndarray
    triangle: np.ndarray


def look(renderer: Renderer, projection: np.ndarray, width: int, height: int) -> View:
    """Render one camera; pixels at the edges of things get a second, shifted ray."""
    pixels = pixel_grid(width, height)
    centre, rays = pixel_rays(projection, pixels)
    pixel_rad = 1.0 / projection[0, 0]
    light, hits = renderer.radiance(centre, rays, pixel_rad)
    image = light.reshape(height, width, 3)
    triangle = hits.triangle.reshape(height, width)
    edge = _edges(image)
    index = np.flatnonzero(edge)
    if len(index):
        for shift in ((0.33, -0.33), (-0.33, 0.33)):
            _, rays = pixel_rays(projection, pixels[index] + shift)
            more, _ = renderer.radiance(centre, rays, pixel_rad)
            light[index] += more
        light[index] /= 3
    return View(light.reshape(height, width, 3), triangle)


def _edges(image: np.ndarray) -> np.ndarray:
    """(H, W) where brightness jumps to a neighbour by more than a fifth."""
    tone = np.log(image.sum(2) + 0.02)
    edge = np.zeros(tone.shape, bool)
    across, down = np.abs(np.diff(tone, axis=1)), np.abs(np.diff(tone, axis=0))
    edge[:, 1:] |= across > 0.35
    edge[:, :-1] |= across > 0.35
    edge[1:] |= down > 0.35
    edge[:-1] |= down > 0.35
    return edge


@dataclass(frozen=True)
class Exposure:
    """A camera's settings, shared by the stereo pair.

    Attributes:
        gain: Factor from radiance to full scale.
        electrons: Full-well photons; fewer means more shot noise.
        read_noise: Deviation of the electronics' noise, share of full scale.
        white: (3,) white balance.
    """

    gain: float
    electrons: float
    read_noise: float
    white: np.ndarray


def auto_exposure(rng: np.random.Generator, radiance: np.ndarray) -> Exposure:
    """Expose for the lower half of the picture, not quite right as cameras are."""
    lower = radiance[radiance.shape[0] // 3 :].mean(2)
    bright = float(np.quantile(lower, 0.9))
    gain = 0.55 * np.exp(rng.normal(0, 0.25)) / max(bright, 0.05)
    dark = float(np.clip(np.log2(gain), 0, 4))
    return Exposure(
        gain=gain,
        electrons=6000 / 2**dark,
        read_noise=0.002 * 1.6**dark,
        white=(1 + rng.normal(0, 0.03, 3)).astype(np.float32),
    )


def expose(
    rng: np.random.Generator, radiance: np.ndarray, setting: Exposure
) -> np.ndarray:
    """(H, W, 3) uint8 sRGB of linear light (H, W, 3): blur, noise, clipping, gamma."""
    light = cv2.GaussianBlur(radiance * setting.gain * setting.white, (3, 3), 0.5)
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    sigma = np.sqrt(np.maximum(light, 0) / setting.electrons + setting.read_noise**2)
    light = np.clip(light + noise * sigma, 0, None)
    # A soft shoulder keeps the sky from clipping at once, as camera curves do.
    light = np.where(light > 0.7, 0.7 + 0.3 * np.tanh((light - 0.7) / 0.6), light)
    return (255 * np.clip(light, 0, 1) ** (1 / 2.2) + 0.5).astype(np.uint8)
