"""Pedestrians and cyclists: jointed limbs, clothes, bags, bicycles."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import numpy as np

from perception.datasets.synthetic.assets.meshes import (
    Mesh,
    box,
    ellipsoid,
    hoop,
    make_mesh,
    merge,
    tube,
)
from perception.datasets.synthetic.assets.surfaces import RUBBER, Surface

_SKIN = ((0.60, 0.38, 0.27), (0.45, 0.26, 0.16), (0.22, 0.12, 0.07), (0.68, 0.47, 0.36))
# Of a bicycle: the rear hub and the handlebars' stem.
_REAR, _BARS = np.array([-0.53, 0, 0.34]), np.array([0.36, 0, 1.0])
_HAIR = ((0.02, 0.015, 0.01), (0.12, 0.06, 0.03), (0.35, 0.24, 0.1), (0.4, 0.4, 0.4))


def _cloth(rng: np.random.Generator) -> Surface:
    """A random fabric; most are muted, one in twelve is a bright safety vest."""
    if rng.random() < 0.08:
        return Surface((0.7, 0.75, 0.05), reflectance=0.95)
    hue, saturation, value = rng.random(), rng.uniform(0, 0.85), rng.uniform(0.03, 0.75)
    colour = colorsys.hsv_to_rgb(hue, saturation**1.3, value**1.3)
    texture = ("plain", "plain", "stripes", "checks")[rng.integers(4)]
    return Surface(colour, texture, reflectance=rng.uniform(0.15, 0.7))


def _trousers(rng: np.random.Generator) -> Surface:
    tone = rng.uniform(0.015, 0.2)
    blue = tone * rng.uniform(1.0, 1.8)
    return Surface((tone, tone, blue), reflectance=rng.uniform(0.12, 0.5))


def _pick(rng: np.random.Generator, table, reflectance: float) -> Surface:
    r, g, b = table[rng.integers(len(table))]
    return Surface((r, g, b), reflectance=reflectance)


def _limb(joints, radii, surface: Surface, sides: int = 6) -> list[Mesh]:
    """Tapering tubes along a chain of joints."""
    return [
        tube(joints[i], joints[i + 1], (radii[i], radii[i + 1]), surface, sides, 0.3)
        for i in range(len(joints) - 1)
    ]


def _head(rng, centre: np.ndarray, skin: Surface, helmet: bool) -> list[Mesh]:
    hair = _cloth(rng) if helmet or rng.random() < 0.15 else _pick(rng, _HAIR, 0.3)
    return [
        ellipsoid(centre, (0.095, 0.078, 0.125), skin),
        ellipsoid(centre + [-0.018, 0, 0.035], (0.105, 0.09, 0.105), hair),
        tube(centre - [0, 0, 0.2], centre - [0, 0, 0.08], 0.05, skin, 6),
    ]


def pedestrian(rng: np.random.Generator) -> Mesh:
    """A standing or walking person, feet on z = 0, facing x."""
    skin, top, legs = _pick(rng, _SKIN, 0.5), _cloth(rng), _trousers(rng)
    shoe = Surface((0.05, 0.045, 0.04), reflectance=0.1)
    walking = rng.random() < 0.75
    swing = rng.uniform(0.25, 0.5) * rng.choice([-1, 1]) if walking else 0.04
    bulk = rng.uniform(0.9, 1.2)
    parts: list[Mesh] = []
    for side, angle in ((-1, swing), (1, -swing)):
        hip = np.array([0, side * 0.095 * bulk, 0.90])
        knee = hip + 0.43 * np.array([np.sin(angle), 0, -np.cos(angle)])
        bend = angle - (0.55 * abs(angle) if angle < 0 else 0.1)
        ankle = knee + 0.41 * np.array([np.sin(bend), 0, -np.cos(bend)])
        ankle[2] = max(ankle[2], 0.07)
        parts += _limb((hip, knee, ankle), (0.095 * bulk, 0.065, 0.05), legs)
        parts.append(box((0.27, 0.1, 0.09), ankle + [0.06, 0, -0.025], shoe))
        parts += _arm(rng, side, -angle, bulk, top, skin)
    parts += _torso(rng, bulk, top)
    parts += _head(rng, np.array([0.02, 0, 1.63]), skin, helmet=False)
    if rng.random() < 0.3:
        parts.append(box((0.17, 0.3, 0.42), (-0.2 * bulk, 0, 1.22), _cloth(rng)))
    if rng.random() < 0.3:
        bag = (0.03, rng.choice([-1, 1]) * 0.33 * bulk, 0.62)
        parts.append(box((0.32, 0.1, 0.27), bag, _cloth(rng)))
    mesh = merge(parts)
    stature = rng.uniform(1.0, 1.4) if rng.random() < 0.12 else rng.normal(1.72, 0.09)
    return mesh.scaled(float(np.clip(stature, 1.0, 1.98)) / 1.76)


def _arm(rng, side: int, angle: float, bulk: float, top: Surface, skin: Surface):
    shoulder = np.array([0, side * 0.2 * bulk, 1.42])
    if rng.random() < 0.2:
        angle, bend = 0.35, 1.9
    else:
        bend = angle + rng.uniform(0.1, 0.5)
    elbow = shoulder + 0.29 * np.array([np.sin(angle), side * 0.12, -np.cos(angle)])
    hand = elbow + 0.27 * np.array([np.sin(bend), 0, -np.cos(bend)])
    return [
        *_limb((shoulder, elbow, hand), (0.058 * bulk, 0.048, 0.038), top),
        ellipsoid(hand, (0.045, 0.045, 0.05), skin, rings=4, sides=6),
    ]


def _torso(rng, bulk: float, top: Surface) -> list[Mesh]:
    size, tile_m = (0.19 * bulk, 0.30 * bulk, 0.55), (0.3, 0.3)
    parts = [
        box(size, (0, 0, 1.15), top, tile_m=tile_m, taper=(1.1, 1.3)),
        ellipsoid((0, 0, 1.42), (0.11 * bulk, 0.21 * bulk, 0.09), top, tile_m=0.3),
        ellipsoid((0, 0, 0.93), (0.12 * bulk, 0.17 * bulk, 0.12), top, tile_m=0.3),
    ]
    if rng.random() < 0.3:
        hem, radii = (0, 0, rng.uniform(0.45, 0.7)), (0.16 * bulk, 0.25 * bulk)
        parts.append(tube((0, 0, 1.0), hem, radii, top, 9, 0.3))
    return parts


@lru_cache(maxsize=2)
def _bicycle_parts(*, step_through: bool) -> tuple[Mesh, Mesh, Mesh]:
    """Tyres, frame with spokes (unpainted), handlebars with saddle."""
    front, crank = np.array([0.53, 0, 0.34]), np.array([-0.06, 0, 0.3])
    saddle, head = np.array([-0.2, 0, 0.92]), np.array([0.36, 0, 0.82])
    low = np.array([-0.1, 0, 0.45 if step_through else 0.78])
    tyres = [hoop(hub, 0.34, 0.024, RUBBER) for hub in (_REAR, front)]
    tubes = []
    for hub in (_REAR, front):
        for angle in np.arange(5) * (np.pi / 5):
            spoke = 0.32 * np.array([np.cos(angle), 0, np.sin(angle)])
            tubes.append(tube(hub - spoke, hub + spoke, 0.006, RUBBER, 4))
    ends = ((_REAR, crank), (_REAR, saddle), (crank, saddle), (crank, head))
    for a, b in (*ends, (low, head), (front, head), (head, _BARS)):
        tubes.append(tube(a, b, 0.021, RUBBER, 5))
    grips = tube(_BARS + [0, -0.28, 0], _BARS + [0, 0.28, 0], 0.018, RUBBER, 5)
    seat = box((0.25, 0.14, 0.07), saddle + [0, 0, 0.03], RUBBER)
    return merge(tyres), merge(tubes), merge([grips, seat])


def _bicycle(rng) -> list[Mesh]:
    hue, saturation, value = rng.random(), rng.uniform(0, 1), rng.uniform(0.1, 0.7)
    colour = colorsys.hsv_to_rgb(hue, saturation, value)
    frame = Surface(colour, reflectance=0.4, gloss=0.2)
    tyres, tubes, seats = _bicycle_parts(step_through=bool(rng.random() < 0.4))
    parts = [tyres, make_mesh(tubes.corners, tubes.uv, frame), seats]
    if rng.random() < 0.35:
        parts.append(box((0.3, 0.36, 0.25), _REAR + [0.02, 0, 0.42], _cloth(rng)))
    if rng.random() < 0.2:
        parts.append(box((0.25, 0.32, 0.22), _BARS + [0.18, 0, -0.02], _cloth(rng)))
    lamp = Surface((0.6, 0.02, 0.02), reflectance=1.0, emission=1.0)
    parts.append(box((0.03, 0.06, 0.06), _REAR + [-0.2, 0, 0.42], lamp))
    return parts


def cyclist(rng: np.random.Generator) -> Mesh:
    """A person riding a bicycle, wheels on z = 0, facing x."""
    skin, top, legs = _pick(rng, _SKIN, 0.5), _cloth(rng), _trousers(rng)
    shoe = Surface((0.05, 0.05, 0.05), reflectance=0.1)
    lean = rng.uniform(0.1, 0.75)
    turn = rng.uniform(0, 2 * np.pi)
    hip = np.array([-0.18, 0, 0.99])
    spine = np.array([np.sin(lean), 0, np.cos(lean)])
    shoulder = hip + 0.5 * spine
    chest = hip + 0.3 * spine
    parts = _bicycle(rng)
    parts.append(tube(hip - 0.05 * spine, chest, (0.15, 0.165), top, 8, 0.3))
    parts.append(tube(chest, shoulder, (0.165, 0.15), top, 8, 0.3))
    parts.append(ellipsoid(shoulder, (0.1, 0.21, 0.1), top, tile_m=0.3))
    for side in (-1, 1):
        phase = turn + (np.pi if side > 0 else 0)
        along, up = 0.17 * np.cos(phase), 0.17 * np.sin(phase)
        pedal = np.array([-0.06 + along, side * 0.13, 0.3 + up])
        thigh = hip + [0, side * 0.1, 0]
        gap = pedal + [0, 0, 0.08] - thigh
        reach = float(np.linalg.norm(gap))
        bow = np.sqrt(max(0.43**2 - (reach / 2) ** 2, 0.0))
        forward = np.array([-gap[2], 0, gap[0]]) / max(reach, 1e-6)
        knee = thigh + gap / 2 + bow * forward
        parts += _limb((thigh, knee, pedal + [0, 0, 0.08]), (0.09, 0.065, 0.05), legs)
        parts.append(box((0.27, 0.09, 0.09), pedal + [0.05, 0, 0.04], shoe))
        hand = np.array([0.38, side * 0.24, 1.02])
        joint = shoulder + [0, side * 0.2, 0]
        elbow = (joint + hand) / 2 + [-0.03, side * 0.05, -0.08]
        parts += _limb((joint, elbow, hand), (0.058, 0.048, 0.04), top)
    face = shoulder + 0.24 * (spine + [0.12, 0, 0.1])
    parts += _head(rng, face, skin, helmet=rng.random() < 0.5)
    if rng.random() < 0.25:
        pack = hip + 0.32 * spine + 0.22 * np.array([-spine[2], 0, spine[0]])
        parts.append(box((0.17, 0.28, 0.36), pack, _cloth(rng)))
    return merge(parts).scaled(rng.uniform(0.93, 1.04))
