"""A street: its random layout, road, kerbs, markings, rows of houses, lamps.

World frame: x along the road, y left, z up; z = 0 is the road, metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.datasets.synthetic.assets import roadside
from perception.datasets.synthetic.assets.meshes import Mesh, box, fan
from perception.datasets.synthetic.assets.surfaces import Surface

KERB_M = 0.13
BACK_M, FAR_M = -40.0, 150.0
_KERB = Surface((0.4, 0.4, 0.38), "plaster", reflectance=0.35)
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
        """The y of the right and the left kerb."""
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
    yard = grass if rng.random() < 0.5 else paving
    for a, b in spans:
        for edge, sign in ((right, -1), (left, 1)):
            width = layout.sidewalk_m
            parts += _sidewalk(a, b, edge, sign, width, paving)
            near, far = edge + sign * width, edge + sign * (width + 12)
            parts.append(_flat(a, b, near, far, KERB_M - 0.02, yard, 2.5))
    return parts + _markings(rng, layout)


def _sidewalk(
    a: float, b: float, edge: float, sign: int, width: float, paving: Surface
) -> list[Mesh]:
    """Kerb and slabs from x = a to b, from y = edge outwards."""
    middle = (a + b) / 2
    kerb_y, slabs_y = edge + sign * 0.09, edge + sign * (0.09 + width / 2)
    kerb, slabs = (b - a, 0.18, KERB_M + 0.2), (b - a, width - 0.18, KERB_M + 0.2)
    return [
        box(kerb, (middle, kerb_y, KERB_M / 2 - 0.1), _KERB),
        box(slabs, (middle, slabs_y, KERB_M / 2 - 0.105), paving, tile_m=(2.4, 2.4)),
    ]


def _markings(rng: np.random.Generator, layout: Layout) -> list[Mesh]:
    parts, z = [], 0.006
    middle = layout.lane_m / 2
    if rng.random() < 0.8:
        for x in np.arange(-6.0, 90.0, 6.0):
            if not layout.in_junction(x, 3):
                near, far = middle - 0.06, middle + 0.06
                parts.append(_flat(x, x + 3, near, far, z, _WHITE, 1))
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


def buildings(
    rng: np.random.Generator, layout: Layout, begin_m: float = -15.0
) -> list[Mesh]:
    """Rows of houses along both sides from ``begin_m`` on; what closes the view."""
    parts = []
    for side, sign in ((0, -1), (1, 1)):
        gap = layout.sidewalk_m + layout.setback_m[side]
        front = layout.kerbs_m[side] + sign * gap
        x = begin_m
        while x < 110:
            width = rng.uniform(7, 20)
            if rng.random() < 0.86 and not any(
                layout.in_junction(p, 1.5) for p in np.linspace(x, x + width, 5)
            ):
                parts += roadside.house(rng, x, width, front, sign, KERB_M)
            elif rng.random() < 0.5:
                parts.append(_hedge(rng, x, width * 0.9, front + sign * 0.4, layout))
            x += width + (rng.uniform(2, 9) if rng.random() < 0.3 else 0.0)
    if rng.random() < 0.5:
        x, end = rng.uniform(70, 120), roadside.wall(rng)
        parts.append(box((10, 60, 14), (x + 5, 0, 7), end, tile_m=(3.4, 3.1)))
    return parts


def _hedge(
    rng: np.random.Generator, x: float, width: float, y: float, layout: Layout
) -> Mesh:
    height, leaves = roadside.hedge_looks(rng)
    if layout.in_junction(x, 1) or layout.in_junction(x + width, 1):
        width = 0.5
    size, centre = (width, 0.8, height), (x + width / 2, y, height / 2)
    return box(size, centre, leaves, tile_m=(0.9, 0.9))


def lamp_posts(
    rng: np.random.Generator, layout: Layout
) -> tuple[list[Mesh], np.ndarray]:
    """Street lamps on one side, and the (L, 3) places of their light."""
    post, light = roadside.lamp_post()
    side = int(rng.integers(2))
    y, yaw = layout.kerbs_m[side] + (-0.4, 0.4)[side], (0.0, np.pi)[side]
    meshes, lights = [], []
    for x in np.arange(rng.uniform(4, 16), 75, rng.uniform(16, 24)):
        if not layout.in_junction(x, 1):
            meshes.append(post.moved((x, y, KERB_M), yaw))
            lights.append([x, y + light[1] * (1, -1)[side], light[2] + KERB_M])
    return meshes, np.array(lights).reshape(-1, 3)
