"""Image boxes of 3D boxes, and points in them, by another way than the program."""

import numpy as np

from perception.core.geometry import edges_ahead, project_to_image


def project_boxes(
    image_P_cam: np.ndarray,
    corners_cam: np.ndarray,
    image_size: tuple[int, int] | None = None,
    *,
    near_m: float = 0.1,
) -> np.ndarray:
    """Smallest image boxes around 3D boxes.

    Edges are cut at ``near_m`` in front of the camera first, so that a box which
    reaches behind the camera still gets the right image box.

    Args:
        image_P_cam: (3, 4) projection matrix.
        corners_cam: (N, 8, 3) as from ``box_corners``.
        image_size: (H, W) to clip to in pixels; None leaves the boxes unclipped.
        near_m: Depth of the cutting plane.

    Returns:
        (N, 4) x1, y1, x2, y2 in pixels; NaN for boxes wholly behind the plane.
        Clipping shrinks a box that is out of view to zero area.
    """
    points, seen = edges_ahead(corners_cam, near_m=near_m)
    pixels, _ = project_to_image(image_P_cam, points)
    low = np.where(seen[..., None], pixels, np.inf).min(axis=1)
    high = np.where(seen[..., None], pixels, -np.inf).max(axis=1)
    boxes_px = np.concatenate([low, high], axis=-1)
    if image_size is not None:
        height, width = image_size
        boxes_px = np.clip(boxes_px, 0, [width - 1, height - 1] * 2)
    return np.where(seen.any(axis=1)[:, None], boxes_px, np.nan)


def points_in_boxes(
    points_cam: np.ndarray,
    dimensions_m: np.ndarray,
    location_m: np.ndarray,
    rotation_y: np.ndarray,
) -> np.ndarray:
    """(P, N) mask: whether each (P, 3) point lies in or on each box.

    The boxes' columns are those of ``box_corners``.
    """
    offset = points_cam[:, None, :] - location_m
    cos, sin = np.cos(rotation_y), np.sin(rotation_y)
    along = cos * offset[..., 0] - sin * offset[..., 2]
    across = sin * offset[..., 0] + cos * offset[..., 2]
    height, width, length = dimensions_m.T
    return (
        (np.abs(along) <= length / 2)
        & (np.abs(across) <= width / 2)
        & (offset[..., 1] <= 0)
        & (offset[..., 1] >= -height)
    )
