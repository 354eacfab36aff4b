"""From points to an image: a z-buffer as torch operations.

A sensor that measures no height, such as a radar, does not say which row of the image
a point belongs to. Its points are drawn as upright lines ("pillars") from the road to
the height of a vehicle, as in Nobis et al., "A deep learning-based radar and camera
sensor fusion architecture for object detection" (SDF 2019): one pixel wide, all with
the values of the point.

Shape letters: P points, Q stand-ins, F feature columns, C channels, H, W image size in
pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from perception.core.structures import SensorSpec

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
    u, v, depth_m = (project_row(xyz, row) for row in image_P_sensor)
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


def padded(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """An image (C, H, W) with zeros, no return, to its right and below it."""
    height, width = image.shape[-2:]
    return F.pad(image, (0, shape[1] - width, 0, shape[0] - height))


def draw_points(
    points: Tensor, spec: SensorSpec, image_P_sensor: Tensor, size: tuple[int, int]
) -> Tensor:
    """(C, H, W) image of a point sensor, as the model sees it; 0 where no point is.

    Or the points themselves, (3 + F, P, 1), for a sensor that ``is_table``.

    A gradient reaches the coordinates and features of every visible point through
    the values it leaves in its pixel (not through which pixel that is).

    Args:
        points: (P, 3 + F) x, y, z in metres in the sensor's frame, then features.
        spec: Names the columns, says what to draw, how far and whether as pillars.
        image_P_sensor: (3, 4) projection, see :func:`visible_points`.
        size: (H, W) of the image in pixels.

    Raises:
        ValueError: If ``points`` has not one column per name.
    """
    if points.ndim != 2 or points.shape[1] != len(spec.columns):
        raise ValueError(
            f"points must be (P, {len(spec.columns)}) {spec.columns}, "
            f"got {tuple(points.shape)}"
        )
    if spec.is_table:
        return points.T.unsqueeze(2)
    height, width = size
    image_P_sensor = image_P_sensor.to(points)
    if spec.pillar_m is not None:
        points, _ = pillars(points, image_P_sensor, size, spec.pillar_m)
    index, pixel = visible_points(points, image_P_sensor, size, spec.max_depth_m)
    seen = points.index_select(0, index).unbind(dim=1)
    depth_m = project_row(seen, image_P_sensor[2])
    channels = [channel.name for channel in spec.channels]
    values = torch.stack(point_values(seen, depth_m, spec.columns, channels))
    image = values.new_zeros(len(channels), height * width)
    image = image.scatter_(1, pixel.expand(len(channels), -1), values)
    return image.view(-1, height, width)


def point_values(
    points: Sequence[Tensor],
    depth_m: Tensor,
    columns: Sequence[str],
    channels: Sequence[str],
) -> list[Tensor]:
    """What points leave in their pixels, (P,) of each channel.

    Args:
        points: (P,) of each column.
        depth_m: (P,) depth along the optical axis.
        columns: Names of the columns.
        channels: What to draw: ``depth_m`` (along the optical axis), ``height_m`` (z in
            the sensor's frame) or the name of a column.
    """
    named = dict(zip(columns, points, strict=True))
    named |= {"depth_m": depth_m, "height_m": points[2]}
    return [named[name] for name in channels]


def pillars(
    points: Tensor,
    image_P_sensor: Tensor,
    size: tuple[int, int],
    pillar_m: tuple[float, float],
) -> tuple[Tensor, Tensor]:
    """Replace each point by stand-ins above each other, close enough to leave no gap.

    Lines more than twice as high as the image, of points nearer than about a metre,
    have gaps. Points that no column of the image shows keep one stand-in.

    Args:
        points: (P, 3 + F) as for :func:`draw_points`; z is not looked at.
        image_P_sensor: (3, 4) projection.
        size: (H, W) of the image in pixels.
        pillar_m: Lowest and highest z of the stand-ins in the sensor's frame.

    Returns:
        The stand-ins (Q, 3 + F), differentiable in x, y and features, those of one
        point behind each other; and (Q,) the index of each one's point.
    """
    with torch.no_grad():
        matrix = image_P_sensor.to(points)
        x, y = points[:, 0], points[:, 1]
        low, high = ([x, y, torch.full_like(x, z)] for z in pillar_m)
        depth_m = torch.minimum(
            project_row(low, matrix[2]), project_row(high, matrix[2])
        )
        column = project_row(low, matrix[0]) / depth_m
        seen = (depth_m > NEAR_PLANE_M) & (column > -2) & (column < size[1] + 1)
        top, bottom = (project_row(end, matrix[1]) / depth_m for end in (high, low))
        rows = torch.where(seen, (bottom - top).abs(), 0.0).clamp(max=2 * size[0])
        count = rows.ceil().long() + 1
        index = torch.repeat_interleave(count)
        first = count.cumsum(0) - count
        step = torch.arange(len(index), device=points.device) - first[index]
        share = step / (count[index] - 1).clamp(min=1)
        height_m = pillar_m[0] + (pillar_m[1] - pillar_m[0]) * share.to(points)
    stand_ins = points.index_select(0, index)
    parts = [stand_ins[:, :2], height_m[:, None], stand_ins[:, 3:]]
    return torch.cat(parts, dim=1), index


def project_row(xyz: Tensor | Sequence[Tensor], row: Tensor) -> Tensor:
    """One (4,) row of a projection times homogeneous coordinates.

    Args:
        xyz: Three rows x, y, z of (P,), in metres in the sensor's frame.
        row: (4,) of a (3, 4) projection to pixels; the third row yields the depth.

    Written out, since a matrix product may round differently from one thread count
    to another, and drops to half precision under autocast.
    """
    return xyz[0] * row[0] + xyz[1] * row[1] + xyz[2] * row[2] + row[3]
