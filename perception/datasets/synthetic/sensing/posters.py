"""Pictures of road users, rendered with the very renderer that later shows them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from perception.datasets.synthetic.assets.meshes import Mesh, fan, merge
from perception.datasets.synthetic.assets.people import cyclist, pedestrian
from perception.datasets.synthetic.assets.surfaces import (
    POSTERS,
    SIDE,
    Atlas,
    Surface,
    build_atlas,
)
from perception.datasets.synthetic.assets.vehicles import CAR_STYLES, vehicle
from perception.datasets.synthetic.sensing.rendering import Renderer
from perception.datasets.synthetic.world.lighting import Lighting

Size = tuple[float, float]


def _studio() -> Lighting:
    """Even daylight."""
    grey = np.full(3, 0.6, np.float32)
    return Lighting(
        kind="overcast",
        key_direction=np.array([0.5, -0.75, -0.43], np.float32),
        key_colour=grey,
        ambient=grey,
        zenith=grey,
        horizon=grey,
    )


def _picture(
    rng: np.random.Generator, mesh: Mesh, size_m: Size, yaw: float, atlas: Atlas
) -> np.ndarray:
    """(S, S, 3) picture, 0 … 1, of a mesh that fills (width, height) metres."""
    width, height = size_m
    r, g, b = rng.uniform(0.2, 0.7, 3).tolist()
    back = Surface((r, g, b))
    floor = Surface((r * 0.4, g * 0.4, b * 0.4), "asphalt")
    behind = fan([(4, -20, -20), (4, 20, -20), (4, 20, 20), (4, -20, 20)], back)
    below = fan([(-20, -20, 0), (4, -20, 0), (4, 20, 0), (-20, 20, 0)], floor, 4.0)
    stage = merge([mesh.moved((0, 0, 0), yaw), behind, below])
    x, y, z = np.moveaxis(stage.corners, -1, 0)
    cam = np.stack([-y, -z, x], -1)
    distance = 12.0
    cam = (cam + [0, height / 2 - 0.02, distance]).astype(np.float32)
    renderer = Renderer(Mesh(cam, stage.uv, stage.surface), _studio(), atlas)
    v, u = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) - 0.5
    rays = np.stack([u * width, v * height, np.full_like(u, distance)], -1)
    rays = rays.reshape(-1, 3)
    rays = (rays / np.linalg.norm(rays, axis=1, keepdims=True)).astype(np.float32)
    light, _ = renderer.radiance(np.zeros(3, np.float32), rays, width / SIDE / distance)
    return np.clip(light.reshape(SIDE, SIDE, 3), 0, 1)


@lru_cache(maxsize=1)
def poster_atlas() -> Atlas:
    """The atlas with its poster slots filled: cars first, then people."""
    rng = np.random.default_rng(19700101)
    plain = build_atlas()
    pictures = []
    for slot in range(POSTERS):
        size, mean, spread = ((4.9, 2.4), np.pi / 2, 0.25)
        if slot < POSTERS // 2:
            mesh = vehicle(rng, CAR_STYLES, lit=False)
        else:
            mesh = (pedestrian, cyclist)[slot % 2](rng)
            size, mean, spread = ((1.5, 2.1), 0.0, 0.4)
        yaw = rng.choice([0.0, np.pi]) + mean + rng.normal(0, spread)
        pictures.append(_picture(rng, mesh, size, yaw, plain))
    return build_atlas(np.stack(pictures))
