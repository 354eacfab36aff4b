"""The street itself: ground, kerbs, markings, buildings, trees, poles, oddities.

World frame: x along the road, y left, z up; z = 0 is the road, metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.datasets.synthetic.meshes import (
    Mesh,
    box,
    ellipsoid,
    fan,
    merge,
    tube,
)
from perception.datasets.synthetic.surfaces import FACADES, Surface

KERB_M = 0.13
BACK_M, FAR_M = -40.0, 150.0
_WHITE = Surface((0.62, 0.62, 0.6), "plain", reflectance=0.65)


@dataclass(frozen=True)
class Layout:
    """Where the parts of the street lie; the own lane's centre is y = 0.

    Attributes:
        lane_m: Width of a lane; the oncoming lane is to the left.
        parking_m: Width of the parking strips (right, left), 0 without.
        angled: Whether cars park across the strip (right, left).
        sidewalk_m: Width of the sidewalks.
        setback_m: Gap between sidewalk and buildings (right, left).
        junction_m: Start and end of the crossing road along x, or None.
        crossing_m: Where pedestrians cross (x), or None.
    """

    lane_m: float
    parking_m: tuple[float, float]
    angled: tuple[bool, bool]
    sidewalk_m: float
    setback_m: tuple[float, float]
    junction_m: tuple[float, float] | None
    crossing_m: float | None

    @property
    def kerbs_m(self) -> tuple[float, float]:
        """y of the right and left kerb."""
        right = -self.lane_m / 2 - self.parking_m[0]
        return right, 1.5 * self.lane_m + self.parking_m[1]

    def in_junction(self, x: float, margin: float = 0.0) -> bool:
        """Whether x lies in the crossing road."""
        if self.junction_m is None:
            return False
        return self.junction_m[0] - margin < x < self.junction_m[1] + margin


def random_layout(rng: np.random.Generator) -> Layout:
    """A random street, mostly with parking, one in three with a junction."""
    angled = (bool(rng.random() < 0.15), bool(rng.random() < 0.15))
    present = rng.random(2) < 0.6
    widths = [
        (5.0 if a else 2.2) * bool(p) for a, p in zip(angled, present, strict=True)
    ]
    start = rng.uniform(14, 40)
    junction = (start, start + rng.uniform(6.5, 9)) if rng.random() < 0.35 else None
    crossing = rng.uniform(8, 26) if rng.random() < 0.4 else None
    if junction is not None and crossing is not None:
        crossing = junction[0] - 2.8
    return Layout(
        lane_m=rng.uniform(2.9, 3.6),
        parking_m=(widths[0], widths[1]),
        angled=angled,
        sidewalk_m=rng.uniform(1.8, 4.2),
        setback_m=(rng.uniform(0, 5), rng.uniform(0, 5)),
        junction_m=junction,
        crossing_m=crossing,
    )


def _flat(x0, x1, y0, y1, z, surface: Surface, tile_m: float) -> Mesh:
    return fan([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], surface, tile_m)


def ground(rng: np.random.Generator, layout: Layout) -> list[Mesh]:
    """Road, crossing road, sidewalks with kerbs, lawns and markings."""
    tone = rng.uniform(0.07, 0.2)
    asphalt = Surface((tone, tone, tone * rng.uniform(0.95, 1.08)), "asphalt", 0.12)
    grass = Surface((0.10, rng.uniform(0.13, 0.22), 0.05), "grass", reflectance=0.45)
    grey = rng.uniform(0.2, 0.4)
    warm = rng.uniform(0.88, 1.0)
    paving = Surface((grey, grey * warm, grey * warm**2), "paving", reflectance=0.3)
    kerb = Surface((0.4, 0.4, 0.38), "plaster", reflectance=0.35)
    right, left = layout.kerbs_m
    parts = [
        _flat(-300, 600, -300, 300, -0.03, grass, 3.0),
        _flat(BACK_M, FAR_M, right, left, 0.0, asphalt, 4.0),
    ]
    spans = [(BACK_M, FAR_M)]
    if layout.junction_m is not None:
        a, b = layout.junction_m
        parts.append(_flat(a, b, -80, right, 0.0, asphalt, 4.0))
        parts.append(_flat(a, b, left, 80, 0.0, asphalt, 4.0))
        spans = [(BACK_M, a - 1), (b + 1, FAR_M)]
    setbacks = (paving, grass) if rng.random() < 0.5 else (paving, paving)
    for a, b in spans:
        for edge, sign in ((right, -1), (left, 1)):
            width, middle = layout.sidewalk_m, (a + b) / 2
            parts.append(
                box(
                    (b - a, 0.18, KERB_M + 0.2),
                    (middle, edge + sign * 0.09, KERB_M / 2 - 0.1),
                    kerb,
                )
            )
            parts.append(
                box(
                    (b - a, width - 0.18, KERB_M + 0.2),
                    (middle, edge + sign * (0.09 + width / 2), KERB_M / 2 - 0.105),
                    paving,
                    tile_m=(2.4, 2.4),
                )
            )
            far = edge + sign * (width + 12)
            near = edge + sign * width
            parts.append(_flat(a, b, near, far, KERB_M - 0.02, setbacks[1], 2.5))
    return parts + _markings(rng, layout)


def _markings(rng: np.random.Generator, layout: Layout) -> list[Mesh]:
    parts, z = [], 0.006
    middle = layout.lane_m / 2
    if rng.random() < 0.8:
        for x in np.arange(-6.0, 90.0, 6.0):
            if not layout.in_junction(x, 3):
                parts.append(
                    _flat(x, x + 3, middle - 0.06, middle + 0.06, z, _WHITE, 1)
                )
    for side in (0, 1):
        if layout.parking_m[side] > 0:
            y = -layout.lane_m / 2 if side == 0 else 1.5 * layout.lane_m
            parts.append(_flat(BACK_M, 90, y - 0.05, y + 0.05, z, _WHITE, 1))
    if layout.crossing_m is not None:
        right, left = layout.kerbs_m
        for y in np.arange(right + 0.5, left - 0.5, 1.0):
            x = layout.crossing_m
            parts.append(_flat(x - 1.5, x + 1.5, y, y + 0.5, z, _WHITE, 1))
    return parts


def buildings(rng: np.random.Generator, layout: Layout) -> list[Mesh]:
    """Rows of houses along both sides, and what closes the view."""
    parts = []
    right, left = layout.kerbs_m
    for edge, sign, gap in (
        (right, -1, layout.setback_m[0]),
        (left, 1, layout.setback_m[1]),
    ):
        front = edge + sign * (layout.sidewalk_m + gap)
        x = -15.0
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
    floors = int(rng.integers(2, 6))
    height, depth = 3.1 * floors + 0.4, 11.0
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
        parts.append(
            box(
                (width, depth * 1.05, 3.0),
                (x + width / 2, centre_y, height + 1.5),
                tile,
                tile_m=(2, 2),
                taper=(1.0, 0.05),
            )
        )
    dark = Surface((0.12, 0.08, 0.05), "planks", reflectance=0.2)
    door = x + rng.uniform(1.0, max(width - 2, 1.1))
    parts.append(box((1.1, 0.15, 2.2), (door, front, KERB_M + 1.1), dark))
    if rng.random() < 0.35:
        for floor in range(1, floors):
            parts.append(
                box(
                    (2.2, 1.0, 1.0),
                    (x + width * 0.6, front - sign * 0.5, 3.1 * floor + 0.6),
                    _wall_plain(rng),
                )
            )
    return parts


def _wall_plain(rng: np.random.Generator) -> Surface:
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
