"""Triangle soups, and the pieces that assets are built of: flat, boxes, round.

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


@lru_cache(maxsize=16)
def _unit_tube(sides: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (4s·3, 6) of a frustum's six vectors, and (4s, 3, 2) angle and level.

    The vectors are the start's radius along u and v, the end's, the axis and the
    start itself; side walls come first, then the two caps.
    """
    here, there = np.arange(sides), np.arange(1, sides + 1)
    zero, one = np.zeros(sides), np.ones(sides)
    triangles = [(here, there, there), (here, there, here)] + [(here, there, here)] * 2
    levels = [(zero, zero, one), (zero, one, one), (zero,) * 3, (one,) * 3]
    reaches = [(one,) * 3] * 2 + [(one, one, zero)] * 2
    angle, level, reach = (
        np.concatenate([np.stack(part, 1) for part in parts])
        for parts in (triangles, levels, reaches)
    )
    angle = angle * (2 * np.pi / sides)
    u, v = reach * np.cos(angle), reach * np.sin(angle)
    start, constant = 1 - level, level * 0 + 1
    weights = np.stack(
        [u * start, v * start, u * level, v * level, level, constant], -1
    )
    return weights.reshape(-1, 6), np.stack([angle, level], -1)


def tube(
    start: Point,
    end: Point,
    radius: float | tuple[float, float],
    surface: Surface,
    sides: int = 7,
    tile_m: float = 1.0,
) -> Mesh:
    """A closed frustum from ``start`` to ``end`` with one or two radii in metres."""
    first, last = radius if isinstance(radius, tuple) else (radius, radius)
    start_x, start_y, start_z = map(float, start)
    end_x, end_y, end_z = map(float, end)
    x, y, z = end_x - start_x, end_y - start_y, end_z - start_z
    length = max(math.sqrt(x * x + y * y + z * z), 1e-9)
    # u is normal to the axis and to the world axis that the tube least follows.
    if abs(z) < length * 0.7:
        u, flat = (y, -x, 0.0), math.hypot(x, y)
    else:
        u, flat = (0.0, z, -y), math.hypot(y, z)
    a, b, c = u[0] / flat, u[1] / flat, u[2] / flat
    v = ((y * c - z * b) / length, (z * a - x * c) / length, (x * b - y * a) / length)
    weights, turns = _unit_tube(sides)
    vectors = [
        (first * a, first * b, first * c),
        (first * v[0], first * v[1], first * v[2]),
        (last * a, last * b, last * c),
        (last * v[0], last * v[1], last * v[2]),
        (x, y, z),
        (start_x, start_y, start_z),
    ]
    corners = (weights @ np.array(vectors)).reshape(-1, 3, 3)
    uv = turns * (max(first, last) / tile_m, length / tile_m)
    return make_mesh(corners, uv, surface)


@lru_cache(maxsize=8)
def _unit_grid(rows: int, columns: int) -> np.ndarray:
    """(2·rows·columns, 3) vertex indices of a grid that wraps around its columns."""
    r, c = np.mgrid[:rows, :columns].reshape(2, -1)
    right = (c + 1) % columns
    a, b = r * columns + c, r * columns + right
    d, e = (r + 1) * columns + c, (r + 1) * columns + right
    return np.concatenate([np.stack([a, b, e], 1), np.stack([a, e, d], 1)])


@lru_cache(maxsize=8)
def _unit_sphere(rings: int, sides: int) -> np.ndarray:
    """((rings + 1)·sides, 3) points, ring by ring."""
    polar = np.linspace(0, np.pi, rings + 1)[:, None]
    turn = np.arange(sides) * (2 * np.pi / sides)
    circle = np.stack([np.cos(turn), np.sin(turn)], -1)
    rows = np.sin(polar)[..., None] * circle
    height = np.broadcast_to(np.cos(polar)[..., None], (rings + 1, sides, 1))
    return np.concatenate([rows, height], -1).reshape(-1, 3)


@lru_cache(maxsize=1)
def _unit_hoop() -> tuple[np.ndarray, np.ndarray]:
    """Direction of the 72 points' radius, and of their thickness, (72, 3) each."""
    major = np.repeat(np.arange(18), 4) * (2 * np.pi / 18)
    minor = np.tile(np.arange(4), 18) * (np.pi / 2)
    out = np.stack([np.cos(major), 0 * major, np.sin(major)], 1)
    thick = out * (np.cos(minor) - 1)[:, None]
    thick[:, 1] = np.sin(minor)
    return out, thick


def ellipsoid(
    centre: Point,
    radii: Point,
    surface: Surface,
    *,
    rings: int = 6,
    sides: int = 9,
    rng: np.random.Generator | None = None,
    roughness: float = 0.0,
    tile_m: float = 1.0,
) -> Mesh:
    """An ellipsoid; with ``rng``, each vertex moves by ``roughness`` of the radius."""
    points = _unit_sphere(rings, sides)
    if rng is not None:
        points = points * (1 + roughness * rng.standard_normal((len(points), 1)))
    index = _unit_grid(rings, sides)
    corners = (points * np.asarray(radii))[index]
    uv = corners[..., :2] + corners[..., 2:] * np.array([0.6, 0.8])
    return make_mesh(corners + np.asarray(centre), uv / tile_m, surface)


def hoop(centre: Point, radius: float, thickness: float, surface: Surface) -> Mesh:
    """A torus in the x-z plane, as a bicycle's wheel."""
    out, thick = _unit_hoop()
    points = out * radius + thick * thickness
    index = _unit_grid(17, 4)
    closing = np.concatenate([np.arange(68, 72), np.arange(4)])
    index = np.concatenate([index, closing[_unit_grid(1, 4)]])
    return make_mesh(
        points[index] + np.asarray(centre), np.zeros((len(index), 3, 2)), surface
    )
