"""The sensor rig: a stereo camera with noise and exposure, in KITTI's arrangement.

Shape letters: H, W image height and width in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from perception.core.structures import Calibration
from perception.datasets.synthetic.sensing.rendering import Renderer

# KITTI's rig: focal length as a share of the width, baseline, and the left colour
# camera's offset from the reference (grey) camera.
FOCAL_SHARE = 0.58
BASELINE_M = 0.54
LEFT_OFFSET_M = 0.06
# The two rays of a pixel at an edge pass this far before and behind its centre.
AA_SHIFT_PX = 0.25
_FULL_SCALE = 3.0


def rig(width: int, height: int) -> Calibration:
    """KITTI's sensor arrangement for an image of any size."""
    focal, u, v = FOCAL_SHARE * width, 0.491 * width, 0.47 * height
    intrinsic = np.array([[focal, 0, u], [0, focal, v], [0, 0, 1.0]])
    left = np.column_stack([intrinsic, intrinsic @ [LEFT_OFFSET_M, 0, 0]])
    right = np.column_stack([intrinsic, intrinsic @ [LEFT_OFFSET_M - BASELINE_M, 0, 0]])
    # The LiDAR's mount is never quite straight: roll, pitch and yaw of about half a
    # degree, as in KITTI's calibration.
    angles = np.diag(np.radians([-0.4, 0.85, 0.3]))
    roll, pitch, yaw = (cv2.Rodrigues(angle)[0] for angle in angles)
    tilt = yaw @ pitch @ roll
    axes = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]], float)
    cam_T_lidar = np.eye(4)
    cam_T_lidar[:3, :3] = axes @ tilt
    cam_T_lidar[:3, 3] = (-0.004, -0.076, -0.272)
    return Calibration(left, {"lidar": cam_T_lidar}, right)


def focal_px(projection: np.ndarray) -> float:
    """Horizontal focal length of a (3, 4) projection, however the camera is turned."""
    return float(np.linalg.norm(np.cross(projection[0, :3], projection[2, :3])))


def pixel_rays(projection: np.ndarray, pixels: np.ndarray):
    """Centre (3,) and unit rays (N, 3) of a camera at pixels (N, 2), cam frame."""
    inverse = np.linalg.inv(projection[:, :3])
    centre = -inverse @ projection[:, 3]
    homogeneous = np.ones((len(pixels), 3))
    homogeneous[:, :2] = pixels
    x, y, z = (homogeneous @ inverse.T).T
    length = np.sqrt(x * x + y * y + z * z)
    rays = np.empty((len(pixels), 3), np.float32)
    # Column by column: NumPy is slow at rows of three.
    for axis, part in enumerate((x, y, z)):
        rays[:, axis] = part / length
    return centre.astype(np.float32), rays


@lru_cache(maxsize=4)
def _all_rays(projection: bytes, width: int, height: int):
    """Centre and unit rays of all pixels (H·W, 3), row by row; do not write to them."""
    v, u = np.mgrid[:height, :width] + AA_SHIFT_PX
    matrix = np.frombuffer(projection).reshape(3, 4)
    return pixel_rays(matrix, np.stack([u.ravel(), v.ravel()], 1))


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
    """Render one camera; pixels at the edges of things get a second ray."""
    centre, rays = _all_rays(np.ascontiguousarray(projection).tobytes(), width, height)
    pixel_rad = float(1 / focal_px(projection))
    light, hits = renderer.radiance(centre, rays, pixel_rad)
    index = np.flatnonzero(_edges(light.reshape(height, width, 3)))
    v, u = np.divmod(index, width)
    _, rays = pixel_rays(projection, np.stack([u, v], 1) - AA_SHIFT_PX)
    light[index] = 0.5 * (light[index] + renderer.radiance(centre, rays, pixel_rad)[0])
    return View(light.reshape(height, width, 3), hits.triangle.reshape(height, width))


def _edges(image: np.ndarray) -> np.ndarray:
    """(H, W) where brightness jumps to a neighbour by a third or more."""
    red, green, blue = cv2.split(image)
    tone = np.log(red + green + blue + np.float32(0.02))
    across = np.abs(np.diff(tone, axis=1)) > 0.35
    down = np.abs(np.diff(tone, axis=0)) > 0.35
    # Either neighbour of a jump is at the edge.
    edge = np.pad(across, ((0, 0), (1, 0))) | np.pad(across, ((0, 0), (0, 1)))
    return edge | np.pad(down, ((1, 0), (0, 0))) | np.pad(down, ((0, 1), (0, 0)))


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
    red, green, blue = cv2.split(radiance[radiance.shape[0] // 3 :: 2, ::2])
    lower = (red + green + blue) / 3
    bright = float(np.quantile(lower, 0.9))
    gain = 0.48 * np.exp(rng.normal(0, 0.25)) / max(bright, 0.05)
    dark = float(np.clip(np.log2(gain), 0, 4))
    white = (1 + rng.normal(0, 0.03, 3)).astype(np.float32)
    return Exposure(gain, 6000 / 2**dark, 0.002 * 1.6**dark, white)


def expose(
    rng: np.random.Generator, radiance: np.ndarray, setting: Exposure
) -> np.ndarray:
    """(H, W, 3) uint8 sRGB of linear light (H, W, 3): blur, noise, clipping, gamma."""
    height, width, _ = radiance.shape
    # Whole rows of pixels at once: NumPy is slow at rows of three.
    gain: np.ndarray = np.tile(setting.gain * setting.white, width)
    light = (radiance.reshape(height, -1) * gain).reshape(radiance.shape)
    light = cv2.GaussianBlur(light, (3, 3), 0.5)
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    noise *= np.sqrt(light * (1 / setting.electrons) + setting.read_noise**2)
    light += noise
    np.clip(light, 0, _FULL_SCALE, out=light)
    return _response().take((light * (4095 / _FULL_SCALE)).astype(np.uint16))


@lru_cache(maxsize=1)
def _response() -> np.ndarray:
    """(4096,) uint8 grey levels of light up to ``_FULL_SCALE``: shoulder and gamma."""
    light = np.linspace(0, _FULL_SCALE, 4096)
    # A soft shoulder keeps the sky from clipping at once, as camera curves do.
    light = np.where(light > 0.7, 0.7 + 0.3 * np.tanh((light - 0.7) / 0.6), light)
    return (255 * light ** (1 / 2.2) + 0.5).astype(np.uint8)
