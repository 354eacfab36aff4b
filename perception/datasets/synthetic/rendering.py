"""Ray casting: which surface a ray meets and what radiance comes back.

Shape letters: N rays; T triangles. Everything is in the cam frame (y down).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import open3d as o3d

from perception.datasets.synthetic.lighting import (
    UP,
    Lighting,
    headlight,
    lamp_light,
)
from perception.datasets.synthetic.meshes import Mesh
from perception.datasets.synthetic.surfaces import Column
from perception.datasets.synthetic.textures import SIDE, Atlas

_OFFSET_M = 2e-3


@dataclass(frozen=True)
class Hits:
    """Where rays (N) ended.

    Attributes:
        distance_m: (N,) along the unit ray, inf where nothing was met.
        triangle: (N,) int64 index of the triangle, -1 where nothing was met.
        barycentric: (N, 2) Embree's u, v in the triangle.
    """

    distance_m: np.ndarray
    triangle: np.ndarray
    barycentric: np.ndarray


class Tracer:
    """A mesh that rays can be cast at, always on one thread."""

    def __init__(self, corners: np.ndarray) -> None:
        """Build the search tree over (T, 3, 3) corners."""
        vertices = np.ascontiguousarray(corners.reshape(-1, 3), np.float32)
        index = np.arange(len(vertices), dtype=np.uint32).reshape(-1, 3)
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        self._scene.add_triangles(o3d.core.Tensor(vertices), o3d.core.Tensor(index))

    @staticmethod
    def _rays(origins: np.ndarray, directions: np.ndarray) -> o3d.core.Tensor:
        rays = np.empty((len(directions), 6), np.float32)
        rays[:, :3], rays[:, 3:] = origins, directions
        return o3d.core.Tensor(rays)

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> Hits:
        """First hit of each ray; origins (3,) or (N, 3), directions (N, 3) unit."""
        found = self._scene.cast_rays(self._rays(origins, directions), nthreads=1)
        triangle = found["primitive_ids"].numpy().astype(np.int64)
        distance = found["t_hit"].numpy()
        triangle[~np.isfinite(distance)] = -1
        return Hits(distance, triangle, found["primitive_uvs"].numpy())

    def blocked(
        self, origins: np.ndarray, directions: np.ndarray, reach: float = np.inf
    ) -> np.ndarray:
        """(N,) whether anything lies within ``reach`` lengths of each direction."""
        return self._scene.test_occlusions(
            self._rays(origins, directions), tnear=0.0, tfar=reach, nthreads=1
        ).numpy()


class Renderer:
    """A lit, textured mesh."""

    def __init__(self, mesh: Mesh, lighting: Lighting, atlas: Atlas) -> None:
        """Prepare per-triangle normals and texture densities."""
        self.mesh, self.lighting, self.atlas = mesh, lighting, atlas
        self.tracer = Tracer(mesh.corners)
        edge_a = mesh.corners[:, 1] - mesh.corners[:, 0]
        edge_b = mesh.corners[:, 2] - mesh.corners[:, 0]
        cross = np.cross(edge_a, edge_b)
        area = np.maximum(np.linalg.norm(cross, axis=1), 1e-12)
        self.normals = cross / area[:, None]
        uv_a, uv_b = mesh.uv[:, 1] - mesh.uv[:, 0], mesh.uv[:, 2] - mesh.uv[:, 0]
        uv_area = np.abs(uv_a[:, 0] * uv_b[:, 1] - uv_a[:, 1] * uv_b[:, 0])
        self.texels_per_m = np.sqrt(uv_area / area).astype(np.float32) * SIDE

    def facing(self, triangle: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """(N, 3) unit normals of triangles, turned against the rays (N, 3)."""
        normal = self.normals[triangle]
        away = np.einsum("nc,nc->n", normal, direction) > 0
        return np.where(away[:, None], -normal, normal)

    def albedo(self, hits: Hits, direction: np.ndarray, pixel_rad: float):
        """Texture × colour, and the share of window glass, where rays hit.

        Args:
            hits: Hits that all met something.
            direction: (N, 3) unit rays.
            pixel_rad: Angle between neighbouring rays.

        Returns:
            (N, 3) albedo, (N,) glass, (N, 2) texture coordinates.
        """
        triangle = hits.triangle
        corner = self.mesh.uv[triangle]
        u, v = hits.barycentric[:, :1], hits.barycentric[:, 1:]
        uv = corner[:, 0] * (1 - u - v) + corner[:, 1] * u + corner[:, 2] * v
        cosine = np.abs(np.einsum("nc,nc->n", self.normals[triangle], direction))
        footprint = hits.distance_m * pixel_rad / np.sqrt(np.maximum(cosine, 0.02))
        texels = footprint * self.texels_per_m[triangle]
        surface = self.mesh.surface[triangle]
        texture = surface[:, Column.TEXTURE].astype(np.int32)
        rgba = self.atlas.sample(texture, uv, texels)
        glass = rgba[:, 3]
        tint = np.where(glass[:, None] > 0.5, 1, surface[:, :3])
        return rgba[:, :3] * tint, glass, uv

    def radiance(
        self, origin: np.ndarray, direction: np.ndarray, pixel_rad: float, bounce=True
    ) -> tuple[np.ndarray, Hits]:
        """Light that comes back along unit rays.

        Args:
            origin: (3,) or (N, 3) start of the rays.
            direction: (N, 3) unit rays.
            pixel_rad: Angle between neighbouring rays.
            bounce: Whether mirrors reflect the scene (else the sky).

        Returns:
            (N, 3) linear radiance and the first hits.
        """
        hits = self.tracer.cast(origin, direction)
        light = np.empty((len(direction), 3), np.float32)
        met = hits.triangle >= 0
        light[~met] = self.lighting.sky(direction[~met])
        index = np.flatnonzero(met)
        if not len(index):
            return light, hits
        part = Hits(hits.distance_m[met], hits.triangle[met], hits.barycentric[met])
        start = origin if origin.ndim == 1 else origin[met]
        light[index] = self._shade(start, direction[met], part, pixel_rad)
        mirror = self.mesh.surface[part.triangle, Column.MIRROR] > 0
        if bounce and mirror.any():
            chosen = index[mirror]
            start, ray = self.reflected(origin, direction[chosen], hits, chosen)
            seen, _ = self.radiance(start, ray, pixel_rad, bounce=False)
            tint = self.mesh.surface[hits.triangle[chosen], :3]
            light[chosen] = 0.8 * seen * tint + 0.05 * light[chosen]
        return light, hits

    def reflected(self, origin, direction, hits: Hits, index: np.ndarray):
        """Start and direction of mirrored rays (M, 3), for hits ``index`` (M,)."""
        normal = self.facing(hits.triangle[index], direction)
        start = origin if origin.ndim == 1 else origin[index]
        point = start + direction * hits.distance_m[index, None] + normal * _OFFSET_M
        ray = direction - 2 * np.einsum("nc,nc->n", direction, normal)[:, None] * normal
        return point.astype(np.float32), ray.astype(np.float32)

    def _shade(self, origin, direction, hits: Hits, pixel_rad: float) -> np.ndarray:
        """(N, 3) radiance of surfaces that were met."""
        lighting, surface = self.lighting, self.mesh.surface[hits.triangle]
        albedo, glass, uv = self.albedo(hits, direction, pixel_rad)
        normal = self.facing(hits.triangle, direction)
        point = origin + direction * hits.distance_m[:, None]
        start = point + normal * _OFFSET_M
        openness = 0.65 + 0.35 * (normal @ UP)
        light = lighting.ambient * openness[:, None]
        key = self._key_light(start, normal)
        light = light + key[:, None] * lighting.key_colour
        if lighting.night:
            light = light + self._night_light(start, point, normal)
        radiance = albedo * light
        gloss = np.maximum(surface[:, Column.GLOSS], 0.85 * glass)
        radiance += self._gleam(direction, normal, gloss, key)
        radiance += (surface[:, Column.EMISSION] * (1 if lighting.night else 0.15))[
            :, None
        ] * surface[:, :3]
        if lighting.night:
            radiance += self._lit_windows(glass, uv, hits.triangle)
        clear = np.exp(-hits.distance_m / lighting.haze_m)[:, None]
        return radiance * clear + lighting.horizon * (1 - clear)

    def _key_light(self, start: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """(N,) share of the key light that arrives, shadows included."""
        towards = self.lighting.key_direction
        share = np.clip(normal @ towards, 0, 1)
        lit = np.flatnonzero(share > 0)
        rays = np.broadcast_to(towards, (len(lit), 3))
        share[lit[self.tracer.blocked(start[lit], rays)]] = 0
        return share

    def _night_light(self, start, point, normal) -> np.ndarray:
        """(N, 3) street lamps, the brightest with shadow, and headlights."""
        total = headlight(point, normal)[:, None] * np.float32([1.0, 0.95, 0.85])
        lamps = self.lighting.lamps_m
        if len(lamps):
            lamp, share = lamp_light(self.lighting, point, normal)
            best = share.max(1)
            shadow = np.flatnonzero(best > 2e-3)
            hidden = self.tracer.blocked(start[shadow], (lamp - start)[shadow], 0.97)
            lit = share.sum(1)
            lit[shadow] -= best[shadow] * hidden
            total = total + lit[:, None] * self.lighting.lamp_colour
        return total

    def _gleam(self, direction, normal, gloss, key) -> np.ndarray:
        """(N, 3) sky and sun reflected by paint and glass (Schlick's Fresnel)."""
        shine = np.zeros((len(gloss), 3), np.float32)
        index = np.flatnonzero(gloss > 0.02)
        d, n = direction[index], normal[index]
        cosine = np.clip(-np.einsum("nc,nc->n", d, n), 0, 1)
        ray = d + 2 * cosine[:, None] * n
        fresnel = gloss[index] * (0.06 + 0.94 * (1 - cosine) ** 5)
        upward = np.clip(-ray[:, 1] * 6 - 0.3, 0, 1)[:, None]
        mirrored = self.lighting.sky(ray) * upward + self.lighting.ambient * 0.3 * (
            1 - upward
        )
        sun = np.clip(ray @ self.lighting.key_direction, 0, 1) ** 80 * (key[index] > 0)
        mirrored = mirrored + (6 * sun)[:, None] * self.lighting.key_colour
        shine[index] = fresnel[:, None] * mirrored
        return shine

    def _lit_windows(self, glass, uv, triangle) -> np.ndarray:
        """(N, 3) glow of the windows behind which somebody is at home."""
        cell = np.floor(uv).astype(np.int64)
        # Fronts are cut into triangles two by two; pairs share their windows.
        mixed = (
            cell[:, 0] * 73856093 ^ cell[:, 1] * 19349663 ^ (triangle // 2) * 83492791
        )
        chance = (mixed * 2654435761 % 4294967296) / 4294967296
        glow = glass * (chance < self.lighting.lit_windows) * (0.25 + chance)
        return glow[:, None].astype(np.float32) * np.float32([0.9, 0.65, 0.35])
