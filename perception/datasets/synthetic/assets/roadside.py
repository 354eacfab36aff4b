"""What stands beside a road: houses, hedges, trees, lamps, signs, and odd things.

Local frame of an asset: x along the road, y left, z up, metres; houses and hedges
stand in the world frame, which has the same axes.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from perception.datasets.synthetic.assets.meshes import (
    Mesh,
    box,
    ellipsoid,
    fan,
    merge,
    picture,
    tube,
)
from perception.datasets.synthetic.assets.surfaces import (
    FACADES,
    POSTERS,
    STEEL_MIRROR,
    Surface,
)

FLOOR_M = 3.1
_DOOR = Surface((0.12, 0.08, 0.05), "planks", reflectance=0.2)
_STEEL = Surface((0.3, 0.3, 0.31), reflectance=0.4, gloss=0.2)
_WALLS = (
    *((0.65, 0.6, 0.5), (0.5, 0.28, 0.2), (0.7, 0.68, 0.66), (0.62, 0.5, 0.33)),
    *((0.38, 0.42, 0.46), (0.6, 0.42, 0.36), (0.3, 0.3, 0.3)),
)
_SIGNS = ((0.6, 0.03, 0.03), (0.03, 0.1, 0.5), (0.75, 0.75, 0.7), (0.7, 0.55, 0.03))


def wall(rng: np.random.Generator) -> Surface:
    """A house front: mostly windows in rows; one in ten is bare and featureless."""
    colour = np.array(_WALLS[rng.integers(len(_WALLS))]) * rng.uniform(0.75, 1.2)
    colour = np.clip(colour, 0, 0.8)
    r, g, b = colour.tolist()
    texture = f"facade_{rng.integers(FACADES)}" if rng.random() < 0.9 else "plain"
    return Surface((r, g, b), texture, reflectance=0.25 + 0.4 * float(colour.mean()))


def house(
    rng: np.random.Generator, x: float, width: float, front: float, sign: int, z: float
) -> list[Mesh]:
    """A house: walls, roof, door, balconies.

    Args:
        rng: Source of its looks.
        x: Where it begins.
        width: How far it reaches from there.
        front: The y of its front.
        sign: On which side of the front it stands, ±1.
        z: Height of its threshold.
    """
    floors = int(rng.integers(2, 6))
    height, depth = FLOOR_M * floors + 0.4, 11.0
    front += sign * rng.uniform(0, 0.8)
    face, middle = wall(rng), np.array([x + width / 2, front + sign * depth / 2, 0])
    bay = width / max(round(width / rng.uniform(2.8, 4.0)), 1)
    size, up = (width, depth, height), np.array([0, 0, 1])
    parts = [box(size, middle + height / 2 * up, face, tile_m=(bay, 3.1))]
    tile = Surface((0.3, rng.uniform(0.08, 0.25), 0.1), "planks", reflectance=0.3)
    if rng.random() < 0.6:
        size, top = (width, depth * 1.05, 3.0), middle + (height + 1.5) * up
        parts.append(box(size, top, tile, tile_m=(2, 2), taper=(1.0, 0.05)))
    door = x + rng.uniform(1.0, max(width - 2, 1.1))
    parts.append(box((1.1, 0.15, 2.2), (door, front, z + 1.1), _DOOR))
    if rng.random() < 0.35:
        for floor in range(1, floors):
            place = (x + width * 0.6, front - sign * 0.5, FLOOR_M * floor + 0.6)
            tone = rng.uniform(0.2, 0.7)
            concrete = Surface((tone, tone, tone * 0.95), "plaster", reflectance=0.4)
            parts.append(box((2.2, 1.0, 1.0), place, concrete))
    return parts


def hedge_looks(rng: np.random.Generator) -> tuple[float, Surface]:
    """Height in metres and leaves of a hedge."""
    height, green = rng.uniform(0.9, 2.2), rng.uniform(0.14, 0.25)
    return height, Surface((0.08, green, 0.05), "leaves", reflectance=0.5)


def tree(rng: np.random.Generator) -> Mesh:
    """A trunk with a ragged crown of leaves."""
    bark = Surface((0.12, 0.08, 0.05), "planks", reflectance=0.35)
    green = rng.uniform(0.7, 1.3)
    leaf = Surface((0.10 * green, 0.19 * green, 0.05), "leaves", reflectance=0.55)
    if rng.random() < 0.15:
        leaf = Surface((0.35, 0.2, 0.05), "leaves", reflectance=0.5)
    trunk, radius = rng.uniform(2.0, 3.2), rng.uniform(1.1, 2.1)
    top = np.array([0, 0, trunk + radius])
    parts = [tube((0, 0, 0), top, (rng.uniform(0.1, 0.22), 0.08), bark)]
    crown = partial(ellipsoid, rings=9, sides=13, rng=rng, roughness=0.12, tile_m=1.4)
    for _ in range(rng.integers(3, 6)):
        centre = rng.normal(0, 0.4, 3) * radius + top
        radii = rng.uniform(0.6, 1.0, 3) * radius
        parts.append(crown(centre, radii, leaf))
    return merge(parts)


def lamp_post() -> tuple[Mesh, np.ndarray]:
    """A street lamp leaning over the road (+y), and where its light is."""
    steel = Surface((0.25, 0.26, 0.27), reflectance=0.4, gloss=0.2)
    bulb = Surface((1.0, 0.85, 0.6), reflectance=0.5, emission=9.0)
    parts = [
        tube((0, 0, 0), (0, 0, 6.2), (0.09, 0.06), steel),
        tube((0, 0, 6.2), (0, 1.5, 6.5), 0.045, steel),
        box((0.25, 0.6, 0.12), (0, 1.6, 6.5), steel),
        box((0.2, 0.5, 0.03), (0, 1.6, 6.42), bulb),
    ]
    return merge(parts), np.array([0.0, 1.6, 6.3])


def sign_post(rng: np.random.Generator) -> Mesh:
    """A traffic sign facing -x: a retro-reflector that dazzles the LiDAR."""
    face = Surface(_SIGNS[rng.integers(4)], reflectance=1.0)
    height = rng.uniform(2.0, 2.6)
    post = tube((0, 0, 0), (0, 0, height + 0.3), 0.035, _STEEL)
    if rng.random() < 0.5:
        sign = tube((-0.05, 0, height), (-0.03, 0, height), 0.32, face, 12)
    else:
        sign = box((0.03, 0.6, 0.6), (-0.05, 0, height), face)
    return merge([post, sign])


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


# What deceives one sensor but not the others:


def billboard(rng: np.random.Generator) -> Mesh:
    """A panel facing -x that shows a life-size road user: only the camera sees one."""
    slot = int(rng.integers(POSTERS))
    width, height = (4.9, 2.4) if slot < POSTERS // 2 else (1.5, 2.1)
    base = 0.15 if rng.random() < 0.7 else 0.8
    y, top = width / 2, base + height
    # Lower left as seen from the road is +y, since the viewer looks along +x.
    corners = [(-0.04, y, base), (-0.04, -y, base), (-0.04, -y, top), (-0.04, y, top)]
    parts = [
        picture(corners, Surface((1, 1, 1), f"poster_{slot}", reflectance=0.45)),
        box((0.06, width + 0.1, height + 0.1), (0, 0, base + height / 2), _STEEL),
    ]
    for side in (-1, 1):
        foot = side * y * 0.8
        parts.append(tube((0, foot, 0), (0, foot, base), 0.05, _STEEL))
    return merge(parts)


def mirror_box(rng: np.random.Generator) -> Mesh:
    """A polished kiosk: every sensor sees the street in it instead of the box."""
    width, depth, height = rng.uniform((1.0, 0.8, 1.6), (2.6, 1.6, 2.4))
    frame = box((depth + 0.06, width + 0.06, 0.12), (0, 0, height + 0.06), _STEEL)
    return merge([box((depth, width, height), (0, 0, height / 2), STEEL_MIRROR), frame])


def puddle(rng: np.random.Generator) -> Mesh:
    """Standing water: a mirror lying on the road."""
    water = Surface((0.5, 0.52, 0.55), reflectance=0.01, gloss=1.0, mirror=True)
    angle = np.arange(9) * (2 * np.pi / 9)
    radius = rng.uniform(0.5, 1.0, 9)
    outline = np.stack([2.0 * radius * np.cos(angle), radius * np.sin(angle)], 1)
    return fan(np.column_stack([outline, np.full(9, 0.004)]), water)


def blank_wall(rng: np.random.Generator) -> Mesh:
    """A wall facing -x without any texture: stereo finds nothing to match."""
    tone = rng.uniform(0.45, 0.75)
    smooth = Surface((tone, tone, tone), reflectance=0.6)
    width, height = rng.uniform(3, 7), rng.uniform(1.8, 3.0)
    return box((0.25, width, height), (0, 0, height / 2), smooth)
