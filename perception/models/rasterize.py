"""From points to an image: a z-buffer as torch operations.

Shape letters: P points, F feature columns, C channels, H, W image size in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NEAR_PLANE_M = 0.1


@torch.no_grad()
def visible_points(
    points: Tensor, image_P_sensor: Tensor, size: tuple[int, int], max_depth_m: float
) -> tuple[Tensor, Tensor]:
    """Find the nearest point of every pixel.

    Of several points in one pixel the nearest wins (compared as float32); of equally
    near ones the one that comes first in the array, so that the result does not
    depend on threads.

    Args:
        points: (P, 3 + F) x, y, z in metres in the sensor's frame, then features.
        image_P_sensor: (3, 4) projection of sensor coordinates to pixels, scaled so
            that its third row yields the depth in metres.
        size: (H, W) of the image in pixels.
        max_depth_m: Points beyond it are not drawn.

    Returns:
        Indices (V,) into ``points`` of the points drawn and their flat pixel indices
        (V,) ``row * W + column``. Neither carries a gradient: which pixel a point
        falls into is a step function of its coordinates.
    """
    height, width = size
    xyz = points[:, :3].T.contiguous()  # each coordinate in one piece: twice as fast
    u, v, depth_m = (_project(xyz, row) for row in image_P_sensor)
    column = u.div_(depth_m).add_(0.5).floor_()
    row = v.div_(depth_m).add_(0.5).floor_()
    inside = (depth_m > NEAR_PLANE_M) & (depth_m <= max_depth_m)
    inside &= (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = inside.nonzero().squeeze(1)
    pixel = row.index_select(0, index).long() * width
    pixel += column.index_select(0, index).long()
    # The bits of positive floats are ordered as they are: one minimum over (depth,
    # index) pairs finds the nearest point and settles ties.
    near = depth_m.index_select(0, index).float().view(torch.int32).long()
    key = (near << 32) | index
    nearest = key.new_full((height * width,), torch.iinfo(torch.int64).max)
    nearest.scatter_reduce_(0, pixel, key, "amin")
    drawn = (nearest.index_select(0, pixel) == key).nonzero().squeeze(1)
    return index.index_select(0, drawn), pixel.index_select(0, drawn)


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
    index, pixel = visible_points(points, image_P_sensor, size, max_depth_m)
    seen = points.index_select(0, index).unbind(dim=1)
    named = dict(zip(columns, seen, strict=True))
    named |= {"depth_m": _project(seen, image_P_sensor[2]), "height_m": seen[2]}
    values = torch.stack([named[name] for name in channels])
    image = values.new_zeros(len(channels), height * width)
    image = image.scatter_(1, pixel.expand(len(channels), -1), values)
    return image.view(-1, height, width)


def _project(xyz: Tensor | Sequence[Tensor], row: Tensor) -> Tensor:
    """One (4,) row of a projection times homogeneous x, y, z.

    Written out, since a matrix product may round differently from one thread count
    to another, and drops to half precision under autocast.
    """
    return xyz[0] * row[0] + xyz[1] * row[1] + xyz[2] * row[2] + row[3]
