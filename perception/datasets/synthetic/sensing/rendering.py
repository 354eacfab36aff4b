"""What radiance comes back along a ray: textures, light, shadows, mirrors.

Shape letters: N rays; T triangles. Everything is in the cam frame (y down).
"""

from __future__ import annotations

import numpy as np

from perception.datasets.synthetic.assets.meshes import Mesh
from perception.datasets.synthetic.assets.surfaces import SIDE, Atlas, Column
from perception.datasets.synthetic.sensing.tracing import Hits, Tracer
from perception.datasets.synthetic.world.lighting import (
    Lighting,
    headlight,
    lamp_light,
    steep_power,
)

_OFFSET_M = 2e-3


class Renderer:
    """A lit, textured mesh.

    Inside, arrays are channel-first, (3, N): NumPy works on them twice as fast.
    """

    def __init__(self, mesh: Mesh, lighting: Lighting, atlas: Atlas) -> None:
        """Prepare per-triangle normals, surfaces and texture gradients."""
        self.mesh, self.lighting, self.atlas = mesh, lighting, atlas
        self.tracer = Tracer(mesh.corners)
        # Corner, coordinate, triangle.
        first, second, third = np.ascontiguousarray(mesh.corners.transpose(1, 2, 0))
        cross = np.cross(second - first, third - first, axis=0)
        x, y, z = cross
        area = np.maximum(np.sqrt(x * x + y * y + z * z), np.float32(1e-12))
        self._normals = np.ascontiguousarray(cross / area)
        self._surface = np.ascontiguousarray(mesh.surface.T)
        uv, uv_1, uv_2 = np.ascontiguousarray(mesh.uv.transpose(1, 2, 0))
        # Texture coordinates as origin and gradients, (2, T) each.
        uv_a, uv_b = uv_1 - uv, uv_2 - uv
        self._uv = uv, uv_a, uv_b
        uv_area = np.abs(uv_a[0] * uv_b[1] - uv_a[1] * uv_b[0])
        self._texels_per_m = np.sqrt(uv_area / area).astype(np.float32) * SIDE

    def column(self, triangle: np.ndarray, column: Column) -> np.ndarray:
        """(N,) one property of the surfaces of triangles (N,)."""
        return _gather(self._surface[column], triangle)

    def cosine(self, triangle: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """(N,) cosine of incidence, 0 … 1, of rays (N, 3) on triangles (N,)."""
        return np.abs(
            np.einsum("cn,nc->n", _gather(self._normals, triangle), direction)
        )

    def albedo(self, hits: Hits, cosine: np.ndarray, pixel_rad: float):
        """Texture × colour (3, N), window glass (N,), texture coordinates (2, N).

        All ``hits`` met something, at (N,) cosines of incidence; neighbouring rays are
        ``pixel_rad`` apart.
        """
        triangle = hits.triangle
        u, v = np.ascontiguousarray(hits.barycentric.T)
        start, along_u, along_v = (_gather(part, triangle) for part in self._uv)
        uv = start + along_u * u + along_v * v
        footprint = hits.distance_m * np.float32(pixel_rad)
        footprint /= np.sqrt(np.maximum(cosine, np.float32(0.02)))
        texels = footprint * _gather(self._texels_per_m, triangle)
        texture = _gather(self._surface[Column.TEXTURE], triangle).astype(np.int32)
        rgba = self.atlas.sample(texture, uv, texels)
        tint = _gather(self._surface[:3], triangle)
        _put(tint, np.flatnonzero(rgba[3] > 0.5), np.ones(3, np.float32))
        return rgba[:3] * tint, rgba[3], uv

    def radiance(
        self, origin: np.ndarray, direction: np.ndarray, pixel_rad: float, bounce=True
    ) -> tuple[np.ndarray, Hits]:
        """Linear radiance (N, 3) that comes back along unit rays, and the first hits.

        Rays go from ``origin``, (3,) or (N, 3), along ``direction`` (N, 3), neighbours
        ``pixel_rad`` apart. Without ``bounce``, mirrors reflect nothing.
        """
        hits = self.tracer.cast(origin, direction)
        rays = np.ascontiguousarray(direction.T)
        light = np.empty(direction.shape, np.float32)
        met = hits.triangle >= 0
        index, missed = np.flatnonzero(met), np.flatnonzero(~met)
        _put(light.T, missed, self.lighting.sky(_gather(rays, missed)))
        if not len(index):
            return light, hits
        part = hits.at(index)
        start = origin[:, None] if origin.ndim == 1 else origin[index].T
        _put(light.T, index, self._shade(start, _gather(rays, index), part, pixel_rad))
        mirror = self.column(part.triangle, Column.MIRROR) > 0
        if bounce and mirror.any():
            chosen = index[mirror]
            start, ray = self.reflected(origin, direction[chosen], hits, chosen)
            seen, _ = self.radiance(start, ray, pixel_rad, bounce=False)
            tint = self.mesh.surface[hits.triangle[chosen], :3]
            light[chosen] = 0.8 * seen * tint + 0.05 * light[chosen]
        return light, hits

    def reflected(self, origin, direction, hits: Hits, index: np.ndarray):
        """Start and direction of mirrored rays (M, 3), for hits ``index`` (M,)."""
        normal = _gather(self._normals, hits.triangle[index]).T
        cosine = np.einsum("nc,nc->n", direction, normal)[:, None]
        start = origin if origin.ndim == 1 else origin[index]
        point = start + direction * hits.distance_m[index, None]
        point = point - normal * np.sign(cosine) * _OFFSET_M
        ray = direction - 2 * cosine * normal
        return point.astype(np.float32), ray.astype(np.float32)

    def _shade(self, origin, direction, hits: Hits, pixel_rad: float) -> np.ndarray:
        """(3, N) radiance of surfaces that were met by rays (3, N)."""
        lighting = self.lighting
        normal = _gather(self._normals, hits.triangle)
        cosine = np.einsum("cn,cn->n", normal, direction)
        normal *= -np.sign(cosine)
        np.abs(cosine, out=cosine)
        albedo, glass, uv = self.albedo(hits, cosine, pixel_rad)
        point = origin + direction * hits.distance_m
        start = point + normal * np.float32(_OFFSET_M)
        key = self._key_light(start, normal)
        # y points down: what faces up sees more of the sky.
        openness = np.float32(0.65) - np.float32(0.35) * normal[1]
        light = lighting.ambient[:, None] * openness
        light += lighting.key_colour[:, None] * key
        if lighting.night:
            light += self._night_light(start, point, normal)
        light *= albedo
        gloss = np.maximum(
            self.column(hits.triangle, Column.GLOSS), np.float32(0.85) * glass
        )
        self._add_gleam(light, direction, normal, cosine, gloss, key)
        emission = self.column(hits.triangle, Column.EMISSION)
        shining = np.flatnonzero(emission > 0)
        glow = emission[shining] * np.float32(1 if lighting.night else 0.15)
        colour = _gather(self._surface[:3], hits.triangle[shining])
        _add(light, shining, glow * colour)
        if lighting.night:
            self._add_windows(light, glass, uv, hits.triangle)
        clear = np.exp(hits.distance_m * np.float32(-1 / lighting.haze_m))
        return light * clear + lighting.horizon[:, None] * (1 - clear)

    def _key_light(self, start: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """(N,) share of the key light that arrives, shadows included."""
        towards = self.lighting.key_direction
        share = np.clip(towards @ normal, 0, 1)
        lit = np.flatnonzero(share > 0)
        rays = np.broadcast_to(towards, (len(lit), 3))
        share[lit[self.tracer.blocked(_gather(start, lit).T, rays)]] = 0
        return share

    def _night_light(self, start, point, normal) -> np.ndarray:
        """(3, N) street lamps, the brightest with shadow, and headlights."""
        beam = headlight(point, normal)
        total = np.array([[1.0], [0.95], [0.85]], np.float32) * beam
        if len(self.lighting.lamps_m):
            best, brightest, lit = lamp_light(self.lighting, point, normal)
            near = np.flatnonzero(brightest > 2e-3)
            begin = _gather(start, near)
            towards = _gather(self.lighting.lamps_m.T, best[near]) - begin
            hidden = self.tracer.blocked(begin.T, towards.T, 0.97)
            lit[near] -= brightest[near] * hidden
            total += self.lighting.lamp_colour[:, None] * lit
        return total

    def _add_gleam(self, light, direction, normal, cosine, gloss, key) -> None:
        """Add sky and sun reflected by paint and glass (Schlick's Fresnel)."""
        index = np.flatnonzero(gloss > 0.02)
        cosine = cosine[index]
        ray = _gather(direction, index) + 2 * cosine * _gather(normal, index)
        fresnel = gloss[index] * (0.06 + 0.94 * (1 - cosine) ** 5)
        upward = np.clip(-ray[1] * 6 - 0.3, 0, 1)
        mirrored = self.lighting.sky(ray) * upward
        mirrored += self.lighting.ambient[:, None] * (0.3 * (1 - upward))
        sun = steep_power(np.clip(self.lighting.key_direction @ ray, 0, 1), 80)
        sun *= np.where(key[index] > 0, np.float32(6), np.float32(0))
        mirrored += self.lighting.key_colour[:, None] * sun
        _add(light, index, fresnel * mirrored)

    def _add_windows(self, light, glass, uv, triangle) -> None:
        """Add the glow of the windows behind which somebody is at home."""
        index = np.flatnonzero(glass > 0.1)
        cell = np.floor(uv[:, index]).astype(np.int64)
        # Fronts are cut into triangles two by two; pairs share their windows.
        mixed = (
            cell[0] * 73856093 ^ cell[1] * 19349663 ^ triangle[index] // 2 * 83492791
        )
        chance = (mixed * 2654435761 % 4294967296) / 4294967296
        glow = glass[index] * (chance < self.lighting.lit_windows) * (0.25 + chance)
        colour = np.array([[0.9], [0.65], [0.35]], np.float32)
        _add(light, index, colour * glow.astype(np.float32))


def _gather(rows: np.ndarray, index: np.ndarray) -> np.ndarray:
    """``rows[..., index]``, several times as fast; -1 counts as 0, unlike there."""
    return rows.take(index, -1, mode="clip")


def _put(rows: np.ndarray, index: np.ndarray, values: np.ndarray) -> None:
    """``rows[:, index] = values``, several times as fast."""
    for row, value in zip(rows, values, strict=True):
        row[index] = value


def _add(rows: np.ndarray, index: np.ndarray, values: np.ndarray) -> None:
    """``rows[:, index] += values`` of distinct indices, several times as fast."""
    for row, value in zip(rows, values, strict=True):
        row[index] += value
