"""From nuScenes' boxes in space to labelled objects of one camera's image.

Shape letter: N objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import shapely
from pyquaternion import Quaternion

from perception.core.geometry import (
    edges_ahead,
    project_to_image,
    rotation_y_to_alpha,
    transform_points,
)
from perception.core.structures import Objects

# Share of an object that some camera sees: 80-100 %, 60-80 %, 40-60 %, below 40 %.
# The last is "unknown" in KITTI's terms: it need not be found, nor is it trained.
OCCLUSION_OF_VISIBILITY = {"4": 0, "3": 1, "2": 2, "1": 3, "": -1}
UNKNOWN_OCCLUSION = 3


def transform_of(pose: Mapping[str, Any]) -> np.ndarray:
    """(4, 4) transform of a row with ``translation`` and ``rotation`` (w, x, y, z)."""
    matrix = np.eye(4)
    matrix[:3, :3] = Quaternion(pose["rotation"]).rotation_matrix
    matrix[:3, 3] = pose["translation"]
    return matrix


def camera_objects(
    boxes: Sequence[Mapping[str, Any]],
    names: Mapping[str, str],
    cam_T_global: np.ndarray,
    image_P_cam: np.ndarray,
    image_size: tuple[int, int],
    *,
    min_points: int = 1,
) -> Objects:
    """The objects that a camera sees, labelled as in KITTI.

    The image box is that of the devkit's ``export_2d_annotations_as_json``: bounds of
    the convex hull of the projected corners, cut to the image. Where a box reaches
    behind the camera, its edges are cut just in front of it, while the devkit drops
    the corners behind and leaves a box that is too small.

    Args:
        boxes: Annotations of the sample in the global frame (``tables``).
        names: Class of each category; boxes of other categories are left out.
        cam_T_global: (4, 4) global to cam coordinates.
        image_P_cam: (3, 4) projection.
        image_size: (H, W) in pixels.
        min_points: Boxes with fewer LiDAR and radar points need not be found, as in
            nuScenes' own evaluation: their occlusion is "unknown".

    Returns:
        (N) objects with some area in the image. Truncation is the share of the hull's
        area outside the image, occlusion follows ``OCCLUSION_OF_VISIBILITY``.
    """
    boxes = [box for box in boxes if box["category"] in names]
    if not boxes:
        return Objects.from_boxes(np.empty(0, dtype=object), np.empty((0, 4)))
    cam_T_box = np.stack([cam_T_global @ transform_of(box) for box in boxes])
    width, length, height = np.array([box["size"] for box in boxes], dtype=float).T
    dimensions_m = np.stack([height, width, length], axis=1)
    corners_cam = _corners(cam_T_box, dimensions_m)
    bounds_px, truncation = _hulls(image_P_cam, corners_cam, image_size)
    bottom = np.stack([0 * height, 0 * height, -height / 2, np.ones_like(height)], 1)
    location_m = np.einsum("nij,nj->ni", cam_T_box, bottom)[:, :3]
    # Heading is the box's x axis; rotation_y counts from cam x towards -z.
    rotation_y = -np.arctan2(cam_T_box[:, 2, 0], cam_T_box[:, 0, 0])
    seen = [OCCLUSION_OF_VISIBILITY.get(str(box["visibility"]), -1) for box in boxes]
    met = np.array([box["points"] >= min_points for box in boxes])
    occlusion = np.where(met, seen, UNKNOWN_OCCLUSION)
    objects = Objects(
        names=np.array([names[box["category"]] for box in boxes], dtype=object),
        boxes_px=bounds_px,
        truncation=truncation,
        occlusion=occlusion,
        alpha=rotation_y_to_alpha(rotation_y, location_m),
        dimensions_m=dimensions_m,
        location_m=location_m,
        rotation_y=rotation_y,
    )
    return objects.select(np.isfinite(bounds_px).all(axis=1) & (truncation < 1))


def _corners(cam_T_box: np.ndarray, dimensions_m: np.ndarray) -> np.ndarray:
    """(N, 8, 3) corners in the cam frame, ordered as ``geometry.box_corners`` does."""
    height, width, length = dimensions_m.T[..., None] / 2
    x = length * np.array([1, 1, -1, -1, 1, 1, -1, -1])
    y = width * np.array([1, -1, -1, 1, 1, -1, -1, 1])
    z = height * np.array([-1, -1, -1, -1, 1, 1, 1, 1])
    corners = np.stack([x, y, z], axis=-1)
    pairs = zip(cam_T_box, corners, strict=True)
    return np.stack([transform_points(a_T_b, points) for a_T_b, points in pairs])


def _hulls(
    image_P_cam: np.ndarray, corners_cam: np.ndarray, image_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """(N, 4) bounds of each hull inside the image (NaN: none), (N,) share outside."""
    points, ahead = edges_ahead(corners_cam)
    pixels, _ = project_to_image(image_P_cam, points)
    bounds_px = np.full((len(points), 4), np.nan)
    truncation = np.ones(len(points))
    some = np.flatnonzero(ahead.any(axis=1))
    if len(some):
        row = np.repeat(np.arange(len(some)), ahead[some].sum(axis=1))
        dots = shapely.points(pixels[some][ahead[some]])
        hulls = shapely.convex_hull(shapely.multipoints(dots, indices=row))
        canvas = shapely.box(0, 0, image_size[1], image_size[0])
        inside = shapely.intersection(hulls, canvas)
        bounds_px[some] = shapely.bounds(inside)
        area = np.maximum(shapely.area(hulls), 1e-9)
        truncation[some] = 1 - shapely.area(inside) / area
    return bounds_px, truncation.clip(0, 1)
