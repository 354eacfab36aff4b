"""How much two boxes overlap: in the image, on the ground and in space.

All functions take pairs: row i of the first argument belongs to row i of the second.
Shape letters: P pairs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from perception.core.structures import Objects

Sizes = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(P,) size of the intersection, of the first and of the second box."""


def image_sizes(first: Objects, second: Objects) -> Sizes:
    """Areas of axis-parallel boxes, in square pixels."""
    a, b = first.boxes_px, second.boxes_px
    sides_px = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    intersection = np.prod(np.maximum(sides_px, 0), axis=1)
    area_a = np.prod(a[:, 2:] - a[:, :2], axis=1)
    area_b = np.prod(b[:, 2:] - b[:, :2], axis=1)
    return intersection, area_a, area_b


def ground_sizes(first: Objects, second: Objects) -> Sizes:
    """Areas of the boxes seen from above, in square metres."""
    a, b = ground_rectangles(first), ground_rectangles(second)
    reach_m = (np.hypot(a[:, 2], a[:, 3]) + np.hypot(b[:, 2], b[:, 3])) / 2
    near = np.hypot(a[:, 0] - b[:, 0], a[:, 1] - b[:, 1]) < reach_m
    intersection = np.zeros(len(a))
    intersection[near] = rectangle_intersection(a[near], b[near])
    return intersection, a[:, 2] * a[:, 3], b[:, 2] * b[:, 3]


def space_sizes(first: Objects, second: Objects) -> Sizes:
    """Volumes of upright boxes, in cubic metres."""
    ground, _, _ = ground_sizes(first, second)
    # y points down and locates the bottom face.
    bottom_a, bottom_b = first.location_m[:, 1], second.location_m[:, 1]
    top_a = bottom_a - first.dimensions_m[:, 0]
    top_b = bottom_b - second.dimensions_m[:, 0]
    shared_m = np.minimum(bottom_a, bottom_b) - np.maximum(top_a, top_b)
    intersection = ground * np.maximum(shared_m, 0)
    volume_a = np.prod(first.dimensions_m, axis=1)
    volume_b = np.prod(second.dimensions_m, axis=1)
    return intersection, volume_a, volume_b


SIZES: dict[str, Callable[[Objects, Objects], Sizes]] = {
    "2d": image_sizes,
    "bev": ground_sizes,
    "3d": space_sizes,
}


def ground_rectangles(objects: Objects) -> np.ndarray:
    """(P, 5) x, z in metres (cam frame), length, width in metres, yaw in radians.

    Unknown sizes are -1 in KITTI's files; like KITTI's evaluation this takes them
    as a 1 m square, which lies where nothing else is (-1000 m).
    """
    return np.column_stack(
        [
            objects.location_m[:, [0, 2]],
            np.abs(objects.dimensions_m[:, [2, 1]]),
            objects.rotation_y,
        ]
    )


def rectangle_intersection(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Area common to two rotated rectangles.

    In the second rectangle's own frame, half its sides being (a, b), the vertical
    section of the first at x is an interval [low, high], and what the second leaves
    of it is clamp(high) - clamp(low), clamped to [-b, b]. So the area is the sum over
    the first one's edges, followed around, of the integral of clamp(z) dx over
    x in [-a, a]. No sorting and no case distinction: it is continuous even where
    edges coincide.

    Args:
        first: (P, 5) centre x, z; length (along x at yaw 0), width; yaw in radians,
            positive from +z towards +x as in KITTI's ``rotation_y``.
        second: (P, 5) the same.

    Returns:
        (P,) area in the square of the unit of length.
    """
    x0, z0 = _corners_seen_from(first, second)
    x1, z1 = np.roll(x0, -1, axis=1), np.roll(z0, -1, axis=1)
    half_length, half_width = second[:, 2:3] / 2, second[:, 3:4] / 2
    start_x = np.clip(x0, -half_length, half_length)
    end_x = np.clip(x1, -half_length, half_length)
    start_z = z0 + _ratio(start_x - x0, x1 - x0) * (z1 - z0)
    end_z = z0 + _ratio(end_x - x0, x1 - x0) * (z1 - z0)
    mean_z = _mean_of_clamped(start_z, end_z, half_width)
    return np.abs(np.sum((end_x - start_x) * mean_z, axis=1))


def _corners_seen_from(
    first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the first rectangle in the second's frame: x and z, each (P, 4)."""
    dx, dz = first[:, 0] - second[:, 0], first[:, 1] - second[:, 1]
    cos, sin = np.cos(second[:, 4]), np.sin(second[:, 4])
    centre_x, centre_z = cos * dx - sin * dz, sin * dx + cos * dz
    turn = (first[:, 4] - second[:, 4])[:, None]
    along = first[:, 2:3] / 2 * np.array([1, 1, -1, -1])
    across = first[:, 3:4] / 2 * np.array([1, -1, -1, 1])
    x = np.cos(turn) * along + np.sin(turn) * across + centre_x[:, None]
    z = np.cos(turn) * across - np.sin(turn) * along + centre_z[:, None]
    return x, z


def _mean_of_clamped(
    start: np.ndarray, end: np.ndarray, limit: np.ndarray
) -> np.ndarray:
    """Mean of clamp(z, -limit, limit) while z moves evenly from start to end."""
    first, last = np.clip(start, -limit, limit), np.clip(end, -limit, limit)
    way = np.abs(end - start)
    held_first = _ratio(np.minimum(np.abs(first - start), way), way)
    held_last = _ratio(np.minimum(np.abs(last - end), way), way)
    moving = 1 - held_first - held_last
    return held_first * first + held_last * last + moving * (first + last) / 2


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, 0 where the denominator is 0."""
    return np.divide(
        numerator,
        denominator,
        out=np.zeros_like(denominator),
        where=denominator != 0,
    )
