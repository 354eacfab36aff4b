"""Ray casting with Open3D (Embree), on one thread so that results repeat exactly.

Shape letters: N rays; T triangles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import open3d as o3d


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

    def at(self, index: np.ndarray) -> Hits:
        """Those of the rays ``index``."""
        picked = self.distance_m[index], self.triangle[index]
        return Hits(*picked, self.barycentric.take(index, 0))


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
        # Column by column: NumPy is slow at rows of three.
        for axis in range(3):
            rays[:, axis] = origins[..., axis]
            rays[:, 3 + axis] = directions[:, axis]
        return o3d.core.Tensor.from_numpy(rays)

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
