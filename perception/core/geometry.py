"""Pure geometry of a calibrated camera: points, pixels, stereo, boxes.

Frames and the ``a_T_b`` notation are those of ``perception.core.structures``. A pixel's
coordinates are those of its centre: pixel (row 0, column 0) is at u = v = 0.

Shape letters: P points; N boxes; H, W image height and width in pixels.
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
    turned = points_cam @ image_P_cam[:, :3].T
    # Column by column: NumPy is slow at rows of two or three.
    x, y, scale = (turned[..., axis] + image_P_cam[axis, 3] for axis in range(3))
    # A point in the camera's own plane has no pixel: NaN, without a warning.
    scale = np.where(scale == 0, np.nan, scale)
    return np.stack([x / scale, y / scale], axis=-1), points_cam[..., 2]


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


def disparity_to_depth(
    disparity_px: np.ndarray, fx_px: float, baseline_m: float
) -> np.ndarray:
    """Depth in metres of a stereo disparity in pixels; 0 (no match) stays 0."""
    valid = disparity_px > 0
    return np.where(valid, fx_px * baseline_m / np.where(valid, disparity_px, 1), 0)


def wrap_angle(angle: np.ndarray) -> np.ndarray:
    """The same angles in radians within [-π, π)."""
    return (np.asarray(angle) + np.pi) % (2 * np.pi) - np.pi


def rotation_y_to_alpha(rotation_y: np.ndarray, location_m: np.ndarray) -> np.ndarray:
    """(N,) observation angles: the yaw relative to the ray to the (N, 3) objects."""
    return wrap_angle(rotation_y - np.arctan2(location_m[..., 0], location_m[..., 2]))


def box_corners(
    dimensions_m: np.ndarray, location_m: np.ndarray, rotation_y: np.ndarray
) -> np.ndarray:
    """Corners of 3D boxes, in the order of KITTI's development kit.

    Args:
        dimensions_m: (N, 3) height, width, length.
        location_m: (N, 3) centre of the bottom face in the cam frame.
        rotation_y: (N,) yaw around the cam y axis; at 0 the object looks along +x.

    Returns:
        (N, 8, 3) in the cam frame in metres. The first four are the bottom face
        (front left, front right, rear right, rear left), the last four the top.
    """
    # Shares of length, height, width for each corner; y points down.
    along = np.array([1, 1, -1, -1, 1, 1, -1, -1]) / 2
    up = np.array([0, 0, 0, 0, -1, -1, -1, -1])
    across = np.array([1, -1, -1, 1, 1, -1, -1, 1]) / 2
    height, width, length = np.moveaxis(dimensions_m[:, :, None], 1, 0)
    x, y, z = along * length, up * height, across * width
    cos, sin = np.cos(rotation_y)[:, None], np.sin(rotation_y)[:, None]
    corners = np.stack([cos * x + sin * z, y, cos * z - sin * x], axis=-1)
    return corners + location_m[:, None, :]


def edges_ahead(
    corners_cam: np.ndarray, *, near_m: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """What of the edges of 3D boxes lies in front of the camera.

    Args:
        corners_cam: (N, 8, 3) as from ``box_corners``.
        near_m: Depth of the plane at which edges are cut.

    Returns:
        (N, 24, 3) both ends of the twelve edges, an end behind the plane replaced by
        its edge's cut, and (N, 24) whether an end is in front: where it is not, the
        whole edge is behind.
    """
    starts = corners_cam[:, [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3]]
    ends = corners_cam[:, [1, 2, 3, 0, 5, 6, 7, 4, 4, 5, 6, 7]]
    rise = ends[..., 2] - starts[..., 2]
    share = (near_m - starts[..., 2]) / np.where(rise == 0, 1, rise)
    cuts = starts + np.clip(share, 0, 1)[..., None] * (ends - starts)
    # Every end that lies behind the plane is replaced by its edge's cut.
    ahead = [np.where(p[..., 2:] >= near_m, p, cuts) for p in (starts, ends)]
    points = np.concatenate(ahead, axis=1)
    seen = points[..., 2] >= near_m * (1 - 1e-9)
    return points, seen
