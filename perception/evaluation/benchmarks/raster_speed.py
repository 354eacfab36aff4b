"""How fast points become an image, beside a plain NumPy program.

Shape letters: P points, H, W image size in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from perception.core.structures import Channel, SensorSpec
from perception.evaluation.benchmarks.timing import Timed
from perception.models.rasterize import draw_points


def compare_rasters(count: int, size: tuple[int, int]) -> Iterator[tuple[str, Timed]]:
    """What to time: a random sweep, and a cloud that is all in view.

    Args:
        count: P.
        size: (H, W).

    Yields:
        A title, which says whether both images are equal, and the candidates.
    """
    rng = np.random.default_rng(0)
    for name, angle in (("all around", np.pi), ("all in view", 0.6)):
        points, projection = random_cloud(rng, count, angle, size)
        drawn = raster_candidates(points, projection, size)
        theirs, ours = (np.asarray(draw()) for draw in drawn.values())
        same = np.array_equal(theirs, ours)
        height, width = size
        title = f"{count} points, {name}, to {width}x{height}; equal images: {same}"
        yield title, drawn


def raster_candidates(
    points: np.ndarray, projection: np.ndarray, size: tuple[int, int]
) -> Timed:
    """``numpy`` and ``torch``, each drawing points (P, 4) as an image (3, H, W).

    Args:
        points: (P, 4) x, y, z in metres, reflectance.
        projection: (3, 4) to pixels.
        size: (H, W).
    """
    cloud, matrix = torch.from_numpy(points), torch.from_numpy(projection)
    channels = ("depth_m", 0, 80), ("height_m", -10, 10), ("reflectance", 0, 1)
    spec = SensorSpec(
        "lidar",
        "points",
        tuple(Channel(name, "", low, high) for name, low, high in channels),
        ("x", "y", "z", "reflectance"),
    )
    return {
        "numpy": lambda: numpy_raster(points, projection, size),
        "torch": lambda: draw_points(cloud, spec, matrix, size),
    }


def random_cloud(
    rng: np.random.Generator, count: int, angle: float, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """(P, 4) points of a 64-beam-like sweep and a (3, 4) projection to pixels.

    Args:
        rng: Source of randomness.
        count: P.
        angle: Half the horizontal range of directions, in radians.
        size: (H, W) of the image in pixels.
    """
    height, width = size
    azimuth = rng.uniform(-angle, angle, count)
    elevation = rng.uniform(-0.2, 0.035, count)
    range_m = rng.uniform(3, 70, count)
    points = np.stack(
        [
            range_m * np.cos(elevation) * np.cos(azimuth),
            range_m * np.cos(elevation) * np.sin(azimuth),
            range_m * np.sin(elevation),
            rng.uniform(0, 1, count),
        ],
        axis=1,
    )
    focal_px, middle, horizon = 0.58 * width, width / 2, 0.46 * height
    projection = np.array(
        [
            [middle, -focal_px, 0, 0],
            [horizon, 0, -focal_px, 0],
            [1, 0, 0, 0],
        ]
    )
    return points.astype(np.float32), projection.astype(np.float32)


def numpy_raster(
    points: np.ndarray, projection: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """The reference: sort by depth, far to near, and let the nearest overwrite."""
    x, y, z, reflectance = points.T
    u, v, depth_m = (r[0] * x + r[1] * y + r[2] * z + r[3] for r in projection)
    front = np.flatnonzero((depth_m > 0.1) & (depth_m <= 80.0))
    depth_m, z, reflectance = depth_m[front], z[front], reflectance[front]
    column = np.floor(u[front] / depth_m + np.float32(0.5)).astype(np.int64)
    row = np.floor(v[front] / depth_m + np.float32(0.5)).astype(np.int64)
    inside = (column >= 0) & (column < size[1]) & (row >= 0) & (row < size[0])
    inside = np.flatnonzero(inside)
    order = inside[np.argsort(depth_m[inside], kind="stable")][::-1]
    image = np.zeros((3, size[0] * size[1]), np.float32)
    image[:, row[order] * size[1] + column[order]] = (
        depth_m[order],
        z[order],
        reflectance[order],
    )
    return image.reshape(3, *size)
