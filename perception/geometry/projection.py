"""Pure geometry of a calibrated camera: points to pixels and back, stereo.

Frames and the ``a_T_b`` notation are those of ``perception.structures``. A pixel's
coordinates are those of its centre: pixel (row 0, column 0) is at u = v = 0.

Shape letters: P points; H, W image height and width in pixels.
"""

from __future__ import annotations

import numpy as np


def transform_points(a_T_b: np.ndarray, points_b: np.ndarray) -> np.ndarray:
    """Carry (..., 3) points from frame b to frame a by the (4, 4) ``a_T_b``."""
    return points_b @ a_T_b[:3, :3].T + a_T_b[:3, 3]


def inverse_transform(a_T_b: np.ndarray) -> np.ndarray:
    """The (4, 4) ``b_T_a`` of any invertible ``a_T_b``."""
    return np.linalg.inv(a_T_b)


def project_to_image(
    image_P_cam: np.ndarray, points_cam: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Project points to pixels.

    Args:
        image_P_cam: (3, 4) projection matrix.
        points_cam: (..., 3) in metres.

    Returns:
        (..., 2) u, v in pixels, and (...) depth in metres: z in the cam frame.
        Pixels of points at or behind the camera (depth <= 0) mean nothing.
    """
    homogeneous = points_cam @ image_P_cam[:, :3].T + image_P_cam[:, 3]
    scale = homogeneous[..., 2:]
    # A point in the camera's own plane has no pixel: NaN, without a warning.
    scale = np.where(scale == 0, np.nan, scale)
    return homogeneous[..., :2] / scale, points_cam[..., 2]


def unproject_to_cam(
    image_P_cam: np.ndarray, pixels: np.ndarray, depth_m: np.ndarray
) -> np.ndarray:
    """The inverse of ``project_to_image``.

    Args:
        image_P_cam: (3, 4) projection matrix with an invertible left part.
        pixels: (..., 2) u, v.
        depth_m: (...) z in the cam frame.

    Returns:
        (..., 3) points in the cam frame in metres.
    """
    # P = [M | p] maps x to w (u, v, 1) = M x + p, hence x = w M⁻¹(u, v, 1) - M⁻¹p;
    # the known z of x settles the scale w.
    inverse = np.linalg.inv(image_P_cam[:, :3])
    centre = inverse @ image_P_cam[:, 3]
    rays = pixels @ inverse[:, :2].T + inverse[:, 2]
    scale = (depth_m + centre[2]) / rays[..., 2]
    return scale[..., None] * rays - centre


def depth_map_to_cam(image_P_cam: np.ndarray, depth_m: np.ndarray) -> np.ndarray:
    """(P, 3) cam points, row by row, of the valid pixels of an (H, W) depth map."""
    rows, columns = np.nonzero(depth_m > 0)
    pixels = np.stack([columns, rows], axis=-1).astype(np.float64)
    return unproject_to_cam(image_P_cam, pixels, depth_m[rows, columns])


def disparity_to_depth(
    disparity_px: np.ndarray, fx_px: float, baseline_m: float
) -> np.ndarray:
    """Depth in metres of a stereo disparity in pixels; 0 (no match) stays 0."""
    valid = disparity_px > 0
    return np.where(valid, fx_px * baseline_m / np.where(valid, disparity_px, 1), 0)


def depth_to_disparity(
    depth_m: np.ndarray, fx_px: float, baseline_m: float
) -> np.ndarray:
    """Stereo disparity in pixels of a depth in metres; 0 (no return) stays 0."""
    # Depth and disparity are each other's reciprocal: one formula serves both.
    return disparity_to_depth(depth_m, fx_px, baseline_m)
