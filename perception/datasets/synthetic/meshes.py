"""Triangle soups and the few primitives that every asset is built of.

Shape letters: T triangles. Local frame of an asset: x forward, y left, z up, metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from perception.datasets.synthetic.surfaces import Surface

Point = Sequence[float] | np.ndarray


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
        corners = self.corners @ turn + np.asarray(offset, np.float32)
        return replace(self, corners=corners)

    def scaled(self, factor: float) -> Mesh:
        """Uniformly scaled around the origin."""
        return replace(self, corners=self.corners * np.float32(factor))


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """All triangles in one mesh, in order."""
    return Mesh(
        np.concatenate([m.corners for m in meshes]),
        np.concatenate([m.uv for m in meshes]),
        np.concatenate([m.surface for m in meshes]),
    )


def _mesh(corners: np.ndarray, uv: np.ndarray, surface: Surface) -> Mesh:
    row = np.broadcast_to(surface.row(), (len(corners), 8))
    return Mesh(
        np.asarray(corners, np.float32),
        np.broadcast_to(uv, (*corners.shape[:2], 2)).astype(np.float32),
        row,
    )


def fan(points: Point, surface: Surface, tile_m: float = 1.0) -> Mesh:
    """A planar convex polygon (n, 3); the texture repeats every ``tile_m`` metres."""
    points = np.asarray(points, np.float64)
    along = points[1] - points[0]
    along = along / np.linalg.norm(along)
    across = points[-1] - points[0]
    across = across - along * (across @ along)
    across = across / max(np.linalg.norm(across), 1e-9)
    flat = (points - points[0]) @ np.stack([along, across], 1) / tile_m
    count = len(points)
    index = np.stack(
        [np.zeros(count - 2, int), np.arange(1, count - 1), np.arange(2, count)], 1
    )
    return _mesh(points[index], flat[index], surface)


def picture(points: Point, surface: Surface) -> Mesh:
    """A quad (4, 3) from lower left, counter-clockwise; one whole texture on it."""
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    index = np.array([[0, 1, 2], [0, 2, 3]])
    return _mesh(np.asarray(points)[index], uv[index], surface)


@lru_cache(maxsize=1)
def _unit_box() -> tuple[np.ndarray, np.ndarray]:
    """(12, 3, 3) corners in ±0.5 and the (12, 2) axes that u and v run along."""
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
    corners = unit * np.asarray(size, np.float64)
    offsets = corners + np.asarray(size) / 2
    uv = np.take_along_axis(offsets, axes[:, None, :], axis=2) / tile_m
    level = unit[..., 2:] + 0.5
    corners[..., :2] *= 1 + level * (np.asarray(taper) - 1)
    return _mesh(corners + np.asarray(centre), uv, surface)


@lru_cache(maxsize=16)
def _unit_tube(sides: int) -> tuple[np.ndarray, ...]:
    """Angle, level (0 start, 1 end) and radius (0, 1) of each corner, (4s, 3)."""
    step = np.arange(sides)
    here, there = step, step + 1
    zero, one = np.zeros(sides), np.ones(sides)
    angle = np.concatenate(
        [
            np.stack([here, there, there], 1),
            np.stack([here, there, here], 1),
            np.stack([here, there, here], 1),
            np.stack([here, there, here], 1),
        ]
    ) * (2 * np.pi / sides)
    level = np.concatenate(
        [
            np.stack([zero, zero, one], 1),
            np.stack([zero, one, one], 1),
            np.stack([zero, zero, zero], 1),
            np.stack([one, one, one], 1),
        ]
    )
    radius = np.concatenate(
        [np.ones((2 * sides, 3)), *[np.stack([one, one, zero], 1)] * 2]
    )
    return angle, level, radius


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
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    axis = end - start
    length = float(np.linalg.norm(axis))
    axis = axis / max(length, 1e-9)
    helper = np.eye(3)[int(np.argmin(np.abs(axis)))]
    u = np.cross(axis, helper)
    u /= np.linalg.norm(u)
    v = np.cross(axis, u)
    angle, level, reach = _unit_tube(sides)
    reach = reach * (first + (last - first) * level)
    corners = (
        start
        + level[..., None] * (axis * length)
        + (reach * np.cos(angle))[..., None] * u
        + (reach * np.sin(angle))[..., None] * v
    )
    uv = np.stack([angle * max(first, last), level * length], -1) / tile_m
    return _mesh(corners, uv, surface)


@lru_cache(maxsize=8)
def _unit_grid(rows: int, columns: int) -> np.ndarray:
    """(2·rows·columns, 3) vertex indices of a grid that wraps around its columns."""
    r, c = np.mgrid[:rows, :columns].reshape(2, -1)
    right = (c + 1) % columns
    a, b = r * columns + c, r * columns + right
    d, e = (r + 1) * columns + c, (r + 1) * columns + right
    return np.concatenate([np.stack([a, b, e], 1), np.stack([a, e, d], 1)])


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
    polar = np.linspace(0, np.pi, rings + 1)[:, None]
    turn = np.arange(sides) * (2 * np.pi / sides)
    points = np.stack(
        np.broadcast_arrays(
            np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)
        ),
        -1,
    ).reshape(-1, 3)
    if rng is not None:
        points = points * (1 + roughness * rng.standard_normal((len(points), 1)))
    index = _unit_grid(rings, sides)
    corners = (points * np.asarray(radii))[index]
    uv = corners[..., :2] + corners[..., 2:] * np.array([0.6, 0.8])
    return _mesh(corners + np.asarray(centre), uv / tile_m, surface)


def hoop(centre: Point, radius: float, thickness: float, surface: Surface) -> Mesh:
    """A torus in the x-z plane, as a bicycle's wheel."""
    major = np.arange(18)[:, None] * (2 * np.pi / 18)
    minor = np.arange(4) * (np.pi / 2)
    reach = radius - thickness + thickness * np.cos(minor)
    points = np.stack(
        np.broadcast_arrays(
            reach * np.cos(major), thickness * np.sin(minor), reach * np.sin(major)
        ),
        -1,
    ).reshape(-1, 3)
    index = _unit_grid(17, 4)
    closing = np.concatenate([np.arange(68, 72), np.arange(4)])
    index = np.concatenate([index, closing[_unit_grid(1, 4)]])
    return _mesh(points[index] + np.asarray(centre), np.zeros(2), surface)
