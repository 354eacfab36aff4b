"""Trees, lamp posts, signs, bins and bollards.

Local frame of an asset: x along the road, y left, z up, metres.
"""

from __future__ import annotations

import numpy as np

from perception.datasets.synthetic.assets.meshes import Mesh, box, merge
from perception.datasets.synthetic.assets.solids import ellipsoid, tube
from perception.datasets.synthetic.assets.surfaces import Surface

_STEEL = Surface((0.3, 0.3, 0.31), reflectance=0.4, gloss=0.2)


def tree(rng: np.random.Generator) -> Mesh:
    """A trunk with a ragged crown of leaves."""
    bark = Surface((0.12, 0.08, 0.05), "planks", reflectance=0.35)
    green = rng.uniform(0.7, 1.3)
    leaf = Surface((0.10 * green, 0.19 * green, 0.05), "leaves", reflectance=0.55)
    if rng.random() < 0.15:
        leaf = Surface((0.35, 0.2, 0.05), "leaves", reflectance=0.5)
    trunk, radius = rng.uniform(2.0, 3.2), rng.uniform(1.1, 2.1)
    parts = [
        tube((0, 0, 0), (0, 0, trunk + radius), (rng.uniform(0.1, 0.22), 0.08), bark)
    ]
    for _ in range(rng.integers(3, 6)):
        offset = rng.normal(0, 0.4, 3) * radius + [0, 0, trunk + radius]
        parts.append(
            ellipsoid(
                offset,
                rng.uniform(0.6, 1.0, 3) * radius,
                leaf,
                rings=9,
                sides=13,
                rng=rng,
                roughness=0.12,
                tile_m=1.4,
            )
        )
    return merge(parts)


def lamp_post() -> tuple[Mesh, np.ndarray]:
    """A street lamp leaning over the road (+y), and where its light is."""
    steel = Surface((0.25, 0.26, 0.27), reflectance=0.4, gloss=0.2)
    bulb = Surface((1.0, 0.85, 0.6), reflectance=0.5, emission=9.0)
    mesh = merge(
        [
            tube((0, 0, 0), (0, 0, 6.2), (0.09, 0.06), steel),
            tube((0, 0, 6.2), (0, 1.5, 6.5), 0.045, steel),
            box((0.25, 0.6, 0.12), (0, 1.6, 6.5), steel),
            box((0.2, 0.5, 0.03), (0, 1.6, 6.42), bulb),
        ]
    )
    return mesh, np.array([0.0, 1.6, 6.3])


def sign_post(rng: np.random.Generator) -> Mesh:
    """A traffic sign facing -x: a retro-reflector that dazzles the LiDAR."""
    colours = (
        (0.6, 0.03, 0.03),
        (0.03, 0.1, 0.5),
        (0.75, 0.75, 0.7),
        (0.7, 0.55, 0.03),
    )
    face = Surface(colours[rng.integers(4)], reflectance=1.0)
    height = rng.uniform(2.0, 2.6)
    post = tube((0, 0, 0), (0, 0, height + 0.3), 0.035, _STEEL)
    if rng.random() < 0.5:
        return merge(
            [post, tube((-0.05, 0, height), (-0.03, 0, height), 0.32, face, 12)]
        )
    return merge([post, box((0.03, 0.6, 0.6), (-0.05, 0, height), face)])


def bin_or_cabinet(rng: np.random.Generator) -> Mesh:
    """A litter bin, mail box or switch cabinet."""
    r, g, b = rng.uniform(0.05, 0.5, 3).tolist()
    paint = Surface((r, g, b), reflectance=rng.uniform(0.1, 0.5))
    if rng.random() < 0.5:
        return tube((0, 0, 0), (0, 0, rng.uniform(0.8, 1.1)), 0.25, paint, 9)
    height = rng.uniform(0.9, 1.5)
    return box((0.4, rng.uniform(0.5, 1.1), height), (0, 0, height / 2), paint)


def bollard(rng: np.random.Generator) -> Mesh:
    """A short post."""
    paint = Surface((0.5, 0.5, 0.48) if rng.random() < 0.5 else (0.05, 0.05, 0.05))
    return tube((0, 0, 0), (0, 0, 0.9), 0.07, paint)
