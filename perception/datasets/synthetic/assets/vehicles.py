"""Cars and vans: a lofted side profile, glass, wheels, lights and plates."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from perception.datasets.synthetic.assets.body_styles import PAINTS, Style
from perception.datasets.synthetic.assets.meshes import (
    Mesh,
    box,
    disc,
    fan,
    merge,
    strip,
)
from perception.datasets.synthetic.assets.solids import tube
from perception.datasets.synthetic.assets.surfaces import CHROME, GLASS, RUBBER, Surface


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

    Args:
        rng: Source of shape and colour.
        styles: Body styles to choose from.
        lit: Whether its lamps shine.
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
    for side in (-1, 1):
        parts.append(
            box((0.1, 0.16, 0.13), (x, side * (half - 0.02), belt + 0.06), paint)
        )
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
    front = length * rng.uniform(0.29, 0.32)
    parts = []
    for x in (-0.30 * length, front):
        for side in (-1, 1):
            out = side * half
            parts += [
                tube(
                    (x, out * 0.6, radius * 1.04),
                    (x, out * 1.004, radius * 1.04),
                    radius * 1.16,
                    RUBBER,
                    14,
                ),
                tube(
                    (x, out * 0.75, radius),
                    (x, out * 1.012, radius),
                    radius,
                    Surface((0.03, 0.03, 0.032), reflectance=0.05),
                    14,
                ),
                tube(
                    (x, out * 0.8, radius),
                    (x, out * 1.018, radius),
                    radius * 0.64,
                    rim,
                    9,
                ),
            ]
    return parts


def _lamps(rng, length, width, height, lit: bool) -> list[Mesh]:
    """Head lamps, tail lamps, grille, bumpers and number plates."""
    glow = 1.0 if lit else 0.0
    head = Surface((0.9, 0.88, 0.8), reflectance=0.6, gloss=0.4, emission=6 * glow)
    tail = Surface((0.5, 0.02, 0.02), reflectance=0.6, gloss=0.3, emission=1.5 * glow)
    plate = Surface((0.8, 0.8, 0.72), reflectance=1.0, emission=0.15 * glow)
    dark = Surface((0.03, 0.03, 0.03), reflectance=0.06)
    z = height * rng.uniform(0.42, 0.46)
    front, rear = length / 2 - 0.02, -length / 2 + 0.005
    lamp_width, tail_height = width * 0.19, height * rng.uniform(0.07, 0.14)
    parts = [
        box((0.03, width * 0.42, height * 0.09), (front, 0, z - 0.03), dark),
        box((0.03, width * 0.8, height * 0.06), (front + 0.01, 0, height * 0.2), dark),
        box((0.02, 0.5, 0.11), (front + 0.015, 0, height * 0.3), plate),
        box(
            (0.02, 0.5, 0.11), (rear - 0.005, 0, height * rng.uniform(0.3, 0.45)), plate
        ),
        box((0.03, width * 0.8, height * 0.06), (rear, 0, height * 0.2), dark),
        tube(
            (rear + 0.1, 0.3 * width, 0.2),
            (rear - 0.01, 0.3 * width, 0.2),
            0.03,
            CHROME,
        ),
    ]
    for side in (-1, 1):
        y = side * width * 0.385
        parts.append(box((0.05, lamp_width, 0.065 * height), (front, y, z), head))
        parts.append(
            box(
                (0.03, width * 0.15, tail_height),
                (rear, side * width * 0.41, z + 0.1),
                tail,
            )
        )
    return parts
