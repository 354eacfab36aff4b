"""Triangle soups, and the flat pieces and boxes that assets are built of.

Shape letters: T triangles. Local frame of an asset: x forward, y left, z up, metres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from perception.datasets.synthetic.assets.surfaces import Surface

Point = Sequence[float] | np.ndarray
Points = Sequence[Point] | np.ndarray


@dataclass(frozen=True)
class Mesh:
    """Triangles with texture coordinates and materials.

    Attributes:
        corners: (T, 3, 3) float32 corner positions in metres.
        uv: (T, 3, 2) float32 texture coordinates in repeats of the texture.
        surface: (T, 8) float32, columns as in ``surfaces.Column``.
    """

    corners: np.ndarray
    uv: np.ndarray
    surface: np.ndarray

    def __len__(self) -> int:
        return len(self.corners)

    def moved(self, offset: Point, yaw: float = 0.0) -> Mesh:
        """Turned around z by ``yaw`` radians, then shifted by ``offset`` metres."""
        c, s = np.cos(yaw), np.sin(yaw)
        turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], np.float32)
        # One product for all corners: NumPy would make one for each triangle.
        corners = self.corners.reshape(-1, 3) @ turn + np.asarray(offset, np.float32)
        return Mesh(corners.reshape(-1, 3, 3), self.uv, self.surface)

    def scaled(self, factor: float) -> Mesh:
        """Uniformly scaled around the origin."""
        return Mesh(self.corners * np.float32(factor), self.uv, self.surface)


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """All triangles in one mesh, in order."""
    return Mesh(
        np.concatenate([m.corners for m in meshes]),
        np.concatenate([m.uv for m in meshes]),
        np.concatenate([m.surface for m in meshes]),
    )


def bounds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest value (C,) of each column of points (N, C)."""
    # NumPy takes ten times as long along rows of two or three.
    columns = np.ascontiguousarray(points.T)
    return columns.min(1), columns.max(1)


def make_mesh(corners: np.ndarray, uv: np.ndarray, surface: Surface) -> Mesh:
    """Corners (T, 3, 3) and texture coordinates (T, 3, 2), all of one material."""
    count = len(corners)
    return Mesh(
        corners.astype(np.float32),
        uv.astype(np.float32),
        surface.row[None].repeat(count, 0),
    )


@lru_cache(maxsize=32)
def _next_corner(count: int) -> np.ndarray:
    """(count) index of the corner that follows in a closed outline."""
    return np.roll(np.arange(count), -1)


@lru_cache(maxsize=32)
def _fan_index(count: int) -> np.ndarray:
    """(count - 2, 3) corners of the triangles of a convex polygon."""
    step = np.arange(1, count - 1)
    return np.stack([np.zeros_like(step), step, step + 1], 1)


def fan(points: Points, surface: Surface, tile_m: float = 1.0) -> Mesh:
    """A planar convex polygon (n, 3); the texture repeats every ``tile_m`` metres."""
    points = np.asarray(points, np.float64)
    offset = points - points[0]
    along = offset[1] / math.sqrt(offset[1] @ offset[1])
    across = offset[-1] - along * (offset[-1] @ along)
    across /= math.sqrt(max(across @ across, 1e-18))
    flat = offset @ np.array([along, across]).T / tile_m
    index = _fan_index(len(points))
    return make_mesh(points[index], flat[index], surface)


def strip(first: np.ndarray, second: np.ndarray, surface: Surface) -> Mesh:
    """Untextured quads between two closed outlines (n, 3), corner by corner."""
    following = _next_corner(len(first))
    after_first, after_second = first[following], second[following]
    quads = np.array([first, second, after_second, first, after_second, after_first])
    corners = quads.swapaxes(0, 1).reshape(-1, 3, 3)
    return make_mesh(corners, np.zeros((len(corners), 3, 2)), surface)


def disc(outline: np.ndarray, surface: Surface) -> Mesh:
    """Untextured triangles from an outline (n, 3) to its mean."""
    corners = np.empty((len(outline), 3, 3))
    corners[:, 0] = outline.sum(0) / len(outline)
    corners[:, 1] = outline
    corners[:, 2] = outline[_next_corner(len(outline))]
    return make_mesh(corners, np.zeros((len(corners), 3, 2)), surface)


def picture(points: Points, surface: Surface) -> Mesh:
    """A quad (4, 3) from lower left, counter-clockwise; one whole texture on it."""
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    index = np.array([[0, 1, 2], [0, 2, 3]])
    return make_mesh(np.asarray(points)[index], uv[index], surface)


@lru_cache(maxsize=1)
def _unit_box() -> tuple[np.ndarray, np.ndarray]:
    """Corners (12, 3, 3) in ±0.5, and which axes u and v run along, (12, 2)."""
    corners, axes = [], []
    for axis, (b, c) in enumerate([(1, 2), (0, 2), (0, 1)]):
        for sign in (-0.5, 0.5):
            square = np.zeros((4, 3))
            square[:, axis] = sign
            square[:, b] = [-0.5, 0.5, 0.5, -0.5]
            square[:, c] = [-0.5, -0.5, 0.5, 0.5]
            corners += [square[[0, 1, 2]], square[[0, 2, 3]]]
            axes += [(b, c)] * 2
    return np.array(corners), np.array(axes)


@lru_cache(maxsize=1)
def _unit_box_uv() -> np.ndarray:
    """(12, 3, 2) texture coordinates of the unit box, 0 … 1."""
    corners, axes = _unit_box()
    return np.take_along_axis(corners + 0.5, axes[:, None], 2)


def box(
    size: Point,
    centre: Point,
    surface: Surface,
    *,
    tile_m: tuple[float, float] = (1.0, 1.0),
    taper: tuple[float, float] = (1.0, 1.0),
) -> Mesh:
    """A box of ``size`` metres whose top face is ``taper`` times its bottom face."""
    unit, axes = _unit_box()
    scale = np.array(size, np.float64)
    corners = unit * scale
    repeats = scale.take(axes) / tile_m
    if taper != (1.0, 1.0):
        level = unit[..., 2:] + 0.5
        corners[..., :2] *= 1 + level * (np.array(taper) - 1)
    uv = _unit_box_uv() * repeats[:, None]
    return make_mesh(corners + np.array(centre), uv, surface)
