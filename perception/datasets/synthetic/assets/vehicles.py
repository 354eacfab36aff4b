"""Cars and vans: a lofted side profile, glass, wheels, lights and plates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from perception.datasets.synthetic.assets.meshes import (
    Mesh,
    box,
    disc,
    fan,
    merge,
    strip,
    tube,
)
from perception.datasets.synthetic.assets.surfaces import CHROME, GLASS, RUBBER, Surface


@dataclass(frozen=True)
class Style:
    """A body style in fractions of length (0 rear … 1 front) and height.

    Attributes:
        size_m: Mean height, width, length in metres.
        body: Outline below the belt line from lower rear to lower front, (x, z).
        cabin: Outline above the belt line from rear to front, (x, z).
        pillars: Where side windows begin and end along the cabin, 0 … 1.
        roof: Width of the roof relative to the belt line.
    """

    size_m: tuple[float, float, float]
    body: tuple[tuple[float, float], ...]
    cabin: tuple[tuple[float, float], ...]
    pillars: tuple[float, ...]
    roof: float = 0.78


_NOSE = ((0.80, 0.61), (0.965, 0.53), (0.995, 0.45), (1.0, 0.22), (0.97, 0.14))
_TAIL = ((0.03, 0.15), (0.0, 0.24), (0.0, 0.50), (0.015, 0.63))
_BOX_CABIN = ((0.025, 0.62), (0.075, 0.93), (0.14, 1.0), (0.55, 1.0), (0.60, 0.97))
_BUS_NOSE = ((0.93, 0.52), (0.985, 0.42), (1.0, 0.36), (1.0, 0.16), (0.98, 0.1))
_BUS_TAIL = ((0.01, 0.1), (0.0, 0.16), (0.0, 0.52))
_BUS_CABIN = ((0.0, 0.52), (0.008, 0.96), (0.03, 1.0), (0.74, 1.0), (0.79, 0.96))

CAR_STYLES = (
    Style(
        (1.45, 1.79, 4.5),
        (*_TAIL, (0.2, 0.66), (0.72, 0.65), *_NOSE[1:]),
        (
            *((0.12, 0.65), (0.26, 0.96), (0.32, 1.0)),
            *((0.52, 1.0), (0.58, 0.96), (0.75, 0.64)),
        ),
        (0.12, 0.47, 0.9),
    ),
    Style(
        (1.48, 1.72, 3.9),
        (*_TAIL, (0.3, 0.64), *_NOSE),
        (*_BOX_CABIN, (0.80, 0.61)),
        (0.08, 0.44, 0.88),
    ),
    Style(
        (1.50, 1.80, 4.6),
        (*_TAIL, (0.3, 0.63), (0.74, 0.63), *_NOSE[1:]),
        (
            *((0.015, 0.62), (0.09, 0.94), (0.15, 1.0)),
            *((0.53, 1.0), (0.58, 0.97), (0.76, 0.62)),
        ),
        (0.06, 0.33, 0.6, 0.9),
    ),
    Style(
        (1.72, 1.86, 4.5),
        (*_TAIL, (0.3, 0.62), *_NOSE),
        (*_BOX_CABIN, (0.78, 0.61)),
        (0.06, 0.34, 0.58, 0.9),
        roof=0.82,
    ),
    Style(
        (1.52, 1.62, 3.5),
        (*_TAIL, (0.3, 0.62), (0.83, 0.60), *_NOSE[1:]),
        (
            *((0.02, 0.62), (0.06, 0.94), (0.12, 1.0)),
            *((0.6, 1.0), (0.66, 0.96), (0.84, 0.60)),
        ),
        (0.08, 0.45, 0.88),
    ),
)
VAN_STYLES = (
    Style(
        (2.0, 1.92, 4.9),
        (*_BUS_TAIL, *_BUS_NOSE),
        (*_BUS_CABIN, (0.93, 0.52)),
        (0.04, 0.34, 0.6, 0.86),
        roof=0.88,
    ),
    Style(
        (2.45, 2.02, 5.6),
        (*_BUS_TAIL, *_BUS_NOSE),
        (*_BUS_CABIN, (0.92, 0.52)),
        (0.66, 0.88),
        roof=0.93,
    ),
)
# Colour and how often it is seen.
PAINTS = (
    *(((0.62, 0.63, 0.64), 0.18), ((0.30, 0.31, 0.33), 0.17)),
    *(((0.10, 0.11, 0.12), 0.14), ((0.012, 0.012, 0.014), 0.12)),
    *(((0.75, 0.75, 0.73), 0.16), ((0.03, 0.07, 0.26), 0.08)),
    *(((0.42, 0.02, 0.025), 0.07), ((0.05, 0.16, 0.07), 0.03)),
    *(((0.62, 0.45, 0.04), 0.02), ((0.25, 0.17, 0.10), 0.03)),
)


def _paint(rng: np.random.Generator) -> Surface:
    weights = np.array([weight for _, weight in PAINTS])
    base = np.array(PAINTS[rng.choice(len(PAINTS), p=weights / weights.sum())][0])
    colour = np.clip(base * rng.uniform(0.8, 1.2, 3) * rng.uniform(0.85, 1.15), 0, 0.85)
    grey = float(colour.mean())
    r, g, b = colour.tolist()
    # Dark paint also absorbs at 905 nm: black cars all but vanish for a LiDAR.
    return Surface((r, g, b), reflectance=0.06 + 0.75 * grey, gloss=0.45)


def vehicle(rng: np.random.Generator, styles: tuple[Style, ...], lit: bool) -> Mesh:
    """A random vehicle of one of the styles, wheels on z = 0, centred in x and y.

    Its lamps shine if it is ``lit``.
    """
    style = styles[rng.integers(len(styles))]
    height, width, length = np.array(style.size_m) * rng.uniform(0.93, 1.07, 3)
    paint = _paint(rng)
    scale = np.array([length, height])
    body = np.array(style.body) * scale - [length / 2, 0]
    cabin = np.array(style.cabin) * scale - [length / 2, 0]
    wheel = float(np.clip(0.215 * height, 0.29, 0.37))
    half = width / 2
    belt = cabin[0, 1]

    def half_at(z: np.ndarray) -> np.ndarray:
        rise = np.minimum(np.maximum((z - belt) / (height - belt), 0), 1)
        return half * (0.985 + (style.roof - 0.985) * rise)

    parts = _shell(body, np.full(len(body), half), paint)
    parts += _shell(cabin, half_at(cabin[:, 1]), paint)
    parts += _windows(cabin, half_at, style.pillars)
    parts += _wheels(rng, length, half, wheel)
    parts += _lamps(rng, length, width, height, lit)
    # Mirrors stand out a hand's breadth, so the labelled width includes them.
    x = cabin[-1, 0] - 0.09 * length
    for y in (0.02 - half, half - 0.02):
        parts.append(box((0.1, 0.16, 0.13), (x, y, belt + 0.06), paint))
    return merge(parts)


def _shell(outline: np.ndarray, half: np.ndarray, paint: Surface) -> list[Mesh]:
    """Both sides and the strips between them of an (n, 2) x-z outline."""
    left = np.array([outline[:, 0], half, outline[:, 1]]).T
    right = left * [1, -1, 1]
    return [disc(left, paint), disc(right, paint), strip(left, right, paint)]


def _windows(cabin, half_at, pillars: tuple[float, ...]) -> list[Mesh]:
    """Side windows between the pillars, windscreen and rear window."""
    belt, top = cabin[0, 1], cabin[:, 1].max()
    peak = int(np.argmax(cabin[:, 1]))
    low, high = belt + 0.1 * (top - belt), belt + 0.86 * (top - belt)
    parts = []
    z = np.array([low, low, high, high])
    rear = np.interp(z, cabin[: peak + 1, 1], cabin[: peak + 1, 0])
    front = np.interp(z, cabin[:peak:-1, 1], cabin[:peak:-1, 0])
    y = half_at(z) + 0.008
    for begin, end in pairwise(pillars):
        share = np.array([begin, end, end, begin]) + [0.015, -0.015, -0.015, 0.015]
        x = rear + (front - rear) * share
        for side in (-1, 1):
            parts.append(fan(np.array([x, side * y, z]).T, GLASS))
    for lower, upper in ((cabin[0], cabin[1]), (cabin[-1], cabin[-2])):
        away = 0.012 * np.sign(lower[0] - cabin[:, 0].mean())
        low_pt = lower + 0.1 * (upper - lower)
        high_pt = lower + 0.93 * (upper - lower)
        x, z = np.array([low_pt, low_pt, high_pt, high_pt]).T
        y = np.array([-1, 1, 1, -1]) * 0.88 * half_at(z)
        parts.append(fan(np.array([x + away, y, z + 0.006]).T, GLASS))
    return parts


def _wheels(rng, length: float, half: float, radius: float) -> list[Mesh]:
    """Four wheels in dark arches, with bright or dark rims."""
    rim_grey = rng.uniform(0.15, 0.6)
    rim = Surface((rim_grey,) * 3, reflectance=0.4, gloss=0.3)
    tyre = Surface((0.03, 0.03, 0.032), reflectance=0.05)
    front = length * rng.uniform(0.29, 0.32)
    # Shares of the half width from and to, height, radius, surface, sides.
    discs = (
        (0.6, 1.004, radius * 1.04, radius * 1.16, RUBBER, 14),
        (0.75, 1.012, radius, radius, tyre, 14),
        (0.8, 1.018, radius, radius * 0.64, rim, 9),
    )
    return [
        tube((x, out * inner, z), (x, out * outer, z), size, surface, sides)
        for x in (-0.30 * length, front)
        for out in (-half, half)
        for inner, outer, z, size, surface, sides in discs
    ]


def _lamps(rng, length, width, height, lit: bool) -> list[Mesh]:
    """Head lamps, tail lamps, grille, bumpers and number plates."""
    glow = 1.0 if lit else 0.0
    head = Surface((0.9, 0.88, 0.8), reflectance=0.6, gloss=0.4, emission=6 * glow)
    tail = Surface((0.5, 0.02, 0.02), reflectance=0.6, gloss=0.3, emission=1.5 * glow)
    plate = Surface((0.8, 0.8, 0.72), reflectance=1.0, emission=0.15 * glow)
    dark = Surface((0.03, 0.03, 0.03), reflectance=0.06)
    z = height * rng.uniform(0.42, 0.46)
    front, rear = length / 2 - 0.02, -length / 2 + 0.005
    lamp, tail_height = width * 0.19, height * rng.uniform(0.07, 0.14)
    plate_z, pipe = height * rng.uniform(0.3, 0.45), (0.3 * width, 0.2)
    bumper = (0.03, width * 0.8, height * 0.06)
    parts = [
        box((0.03, width * 0.42, height * 0.09), (front, 0, z - 0.03), dark),
        box(bumper, (front + 0.01, 0, height * 0.2), dark),
        box((0.02, 0.5, 0.11), (front + 0.015, 0, height * 0.3), plate),
        box((0.02, 0.5, 0.11), (rear - 0.005, 0, plate_z), plate),
        box(bumper, (rear, 0, height * 0.2), dark),
        tube((rear + 0.1, *pipe), (rear - 0.01, *pipe), 0.03, CHROME),
    ]
    for side in (-1, 1):
        y, tail_y = side * width * 0.385, side * width * 0.41
        parts.append(box((0.05, lamp, 0.065 * height), (front, y, z), head))
        size = (0.03, width * 0.15, tail_height)
        parts.append(box(size, (rear, tail_y, z + 0.1), tail))
    return parts
