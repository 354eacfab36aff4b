"""From points to an image: a z-buffer as torch operations.

Shape letters: P points, F feature columns, C channels, H, W image size in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NEAR_PLANE_M = 0.1


def visible_points(
    points: Tensor, image_P_sensor: Tensor, size: tuple[int, int], max_depth_m: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the nearest point of every pixel.

    Of several points in one pixel the nearest wins; of equally near ones the one
    that comes first in the array, so that the result does not depend on threads.

    Args:
        points: (P, 3 + F) x, y, z in metres in the sensor's frame, then features.
        image_P_sensor: (3, 4) projection of sensor coordinates to pixels, scaled so
            that its third row yields the depth in metres.
        size: (H, W) of the image in pixels.
        max_depth_m: Points beyond it are not drawn.

    Returns:
        Indices (V,) into ``points`` of the points drawn, their flat pixel indices
        (V,) ``row * W + column``, and the depth (P,) in metres of every point. Only
        the depth carries a gradient: which pixel a point falls into is a step
        function of its coordinates.
    """
    height, width = size
    projected = points[:, :3] @ image_P_sensor[:, :3].T + image_P_sensor[:, 3]
    depth_m = projected[:, 2]
    with torch.no_grad():
        column = torch.floor(projected[:, 0] / depth_m + 0.5)
        row = torch.floor(projected[:, 1] / depth_m + 0.5)
        inside = (depth_m > NEAR_PLANE_M) & (depth_m <= max_depth_m)
        inside &= (column >= 0) & (column < width) & (row >= 0) & (row < height)
        candidates = inside.nonzero().squeeze(1)
        pixel = (row[candidates] * width + column[candidates]).long()
        near = depth_m[candidates]
        nearest = near.new_full((height * width,), torch.inf)
        nearest.scatter_reduce_(0, pixel, near, "amin")
        front = (near == nearest[pixel]).nonzero().squeeze(1)
        candidates, pixel = candidates[front], pixel[front]
        first = pixel.new_full((height * width,), len(points))
        first.scatter_reduce_(0, pixel, candidates, "amin")
        chosen = first[pixel] == candidates
    return candidates[chosen], pixel[chosen], depth_m


def rasterize_points(
    points: Tensor,
    image_P_sensor: Tensor,
    size: tuple[int, int],
    *,
    columns: Sequence[str],
    channels: Sequence[str],
    max_depth_m: float,
) -> Tensor:
    """Draw a point cloud as an image; pixels without a point are 0.

    A gradient reaches the coordinates and features of every visible point through
    the values it leaves in its pixel (not through which pixel that is).

    Args:
        points: (P, 3 + F) x, y, z in metres in the sensor's frame, then features.
        image_P_sensor: (3, 4) projection, see :func:`visible_points`.
        size: (H, W) of the image in pixels.
        columns: Names of the 3 + F columns of ``points``.
        channels: What to draw: ``depth_m`` (depth along the optical axis in metres),
            ``height_m`` (z in the sensor's frame) or the name of a column.
        max_depth_m: Points beyond it are not drawn.

    Returns:
        (C, H, W) image of the dtype of ``points``.

    Raises:
        ValueError: If ``points`` has not one column per name.
    """
    if points.ndim != 2 or points.shape[1] != len(columns):
        raise ValueError(
            f"points must be (P, {len(columns)}) {tuple(columns)}, "
            f"got {tuple(points.shape)}"
        )
    height, width = size
    image_P_sensor = image_P_sensor.to(points)
    index, pixel, depth_m = visible_points(points, image_P_sensor, size, max_depth_m)
    seen = points[index]
    named = {name: seen[:, i] for i, name in enumerate(columns)}
    named |= {"depth_m": depth_m[index], "height_m": seen[:, 2]}
    values = torch.stack([named[name] for name in channels])
    image = values.new_zeros(len(channels), height * width)
    return image.index_copy(1, pixel, values).view(-1, height, width)
