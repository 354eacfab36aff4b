"""Rows of houses, and the hedges between them.

World frame: x along the road, y left, z up; z = 0 is the road, metres.
"""

from __future__ import annotations

import numpy as np

from perception.datasets.synthetic.assets.meshes import Mesh, box
from perception.datasets.synthetic.assets.surfaces import FACADES, Surface
from perception.datasets.synthetic.world.street import KERB_M, Layout

FLOOR_M = 3.1
_DOOR = Surface((0.12, 0.08, 0.05), "planks", reflectance=0.2)


def buildings(
    rng: np.random.Generator, layout: Layout, begin_m: float = -15.0
) -> list[Mesh]:
    """Rows of houses along both sides from ``begin_m`` on; what closes the view."""
    parts = []
    right, left = layout.kerbs_m
    for edge, sign, gap in (
        (right, -1, layout.setback_m[0]),
        (left, 1, layout.setback_m[1]),
    ):
        front = edge + sign * (layout.sidewalk_m + gap)
        x = begin_m
        while x < 110:
            width = rng.uniform(7, 20)
            if rng.random() < 0.86 and not any(
                layout.in_junction(p, 1.5) for p in np.linspace(x, x + width, 5)
            ):
                parts += _house(rng, x, width, front, sign)
            elif rng.random() < 0.5:
                parts.append(_hedge(rng, x, width * 0.9, front, sign, layout))
            x += width + (rng.uniform(2, 9) if rng.random() < 0.3 else 0.0)
    if rng.random() < 0.5:
        x = rng.uniform(70, 120)
        parts += [box((10, 60, 14), (x + 5, 0, 7), _wall(rng), tile_m=(3.4, 3.1))]
    return parts


def _wall(rng: np.random.Generator) -> Surface:
    """A house front: mostly windows in rows; one in ten is bare and featureless."""
    palette = (
        (0.65, 0.6, 0.5),
        (0.5, 0.28, 0.2),
        (0.7, 0.68, 0.66),
        (0.62, 0.5, 0.33),
        (0.38, 0.42, 0.46),
        (0.6, 0.42, 0.36),
        (0.3, 0.3, 0.3),
    )
    colour = np.clip(
        np.array(palette[rng.integers(len(palette))]) * rng.uniform(0.75, 1.2), 0, 0.8
    )
    r, g, b = colour.tolist()
    texture = f"facade_{rng.integers(FACADES)}" if rng.random() < 0.9 else "plain"
    return Surface((r, g, b), texture, reflectance=0.25 + 0.4 * float(colour.mean()))


def _house(rng, x: float, width: float, front: float, sign: int) -> list[Mesh]:
    """A house from x on whose front is at y = front: walls, roof, door, balconies."""
    floors = int(rng.integers(2, 6))
    height, depth = FLOOR_M * floors + 0.4, 11.0
    front += sign * rng.uniform(0, 0.8)
    wall, centre_y = _wall(rng), front + sign * depth / 2
    bay = width / max(round(width / rng.uniform(2.8, 4.0)), 1)
    parts = [
        box(
            (width, depth, height),
            (x + width / 2, centre_y, height / 2),
            wall,
            tile_m=(bay, 3.1),
        )
    ]
    tile = Surface((0.3, rng.uniform(0.08, 0.25), 0.1), "planks", reflectance=0.3)
    if rng.random() < 0.6:
        size, top = (width, depth * 1.05, 3.0), (x + width / 2, centre_y, height + 1.5)
        parts.append(box(size, top, tile, tile_m=(2, 2), taper=(1.0, 0.05)))
    door = x + rng.uniform(1.0, max(width - 2, 1.1))
    parts.append(box((1.1, 0.15, 2.2), (door, front, KERB_M + 1.1), _DOOR))
    if rng.random() < 0.35:
        for floor in range(1, floors):
            place = (x + width * 0.6, front - sign * 0.5, FLOOR_M * floor + 0.6)
            parts.append(box((2.2, 1.0, 1.0), place, _concrete(rng)))
    return parts


def _concrete(rng: np.random.Generator) -> Surface:
    tone = rng.uniform(0.2, 0.7)
    return Surface((tone, tone, tone * 0.95), "plaster", reflectance=0.4)


def _hedge(rng, x, width, front, sign, layout: Layout) -> Mesh:
    height = rng.uniform(0.9, 2.2)
    leaf = Surface((0.08, rng.uniform(0.14, 0.25), 0.05), "leaves", reflectance=0.5)
    if layout.in_junction(x, 1) or layout.in_junction(x + width, 1):
        width = 0.5
    return box(
        (width, 0.8, height),
        (x + width / 2, front + sign * 0.4, height / 2),
        leaf,
        tile_m=(0.9, 0.9),
    )
