"""A 77 GHz automotive radar (Continental ARS 408): few returns, Doppler, ghosts.

After the sensor's data sheet and nuScenes' description of its 18 fields. Ours casts a
fan of rays and keeps a handful of their hits, instead of simulating waveforms. The
radar's frame: x forward, y left, metres; it measures no height, so z is 0.

Shape letters: N rays; P returns; A actors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from perception.datasets.synthetic.sensing.rendering import Renderer

# nuScenes' radar point, field by field.
POINT = np.dtype(
    [(name, "<f4") for name in ("x", "y", "z")]
    + [("dyn_prop", "i1"), ("id", "<i2")]
    + [(name, "<f4") for name in ("rcs", "vx", "vy", "vx_comp", "vy_comp")]
    + [(name, "i1") for name in ("is_quality_valid", "ambig_state", "x_rms", "y_rms")]
    + [(name, "i1") for name in ("invalid_state", "pdh0", "vx_rms", "vy_rms")]
)
HALF_VIEW_DEG, FAR_HALF_VIEW_DEG = 60.0, 9.0
NEAR_RANGE_M, FAR_RANGE_M = 70.0, 150.0
AZIMUTH_STEP_DEG = 0.5
_ELEVATIONS_DEG = (-2.0, 0.0, 2.5)
# Radar cross-section in dBsm, mean and deviation.
RCS_DBSM = {
    **{"Car": (10.0, 4.0), "Van": (14.0, 4.0)},
    **{"Cyclist": (1.0, 3.0), "Pedestrian": (-4.0, 3.0)},
}
_CLUTTER_RCS_DBSM = (3.0, 6.0)
# A target of this cross-section is noticed every second time at 40 m.
_THRESHOLD_DBSM = -8.0
RANGE_NOISE_M, SPEED_NOISE_MPS = 0.15, 0.1
GHOST_SHARE = 0.08
# nuScenes' codes.
_VALID, _LOW_RCS, _MIRRORED, _UNAMBIGUOUS = 0, 1, 6, 3
_MOVING, _STATIONARY, _ONCOMING = 0, 1, 2


@dataclass(frozen=True)
class Motion:
    """Who moves how, in the radar's frame.

    Attributes:
        own_mps: (2,) velocity of the radar over the ground.
        actors_mps: (A, 2) velocities over the ground of what rays can hit.
    """

    own_mps: np.ndarray
    actors_mps: np.ndarray


@lru_cache(maxsize=1)
def _fan() -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) unit rays and their (N,) azimuths; do not write to them."""
    count = round(HALF_VIEW_DEG / AZIMUTH_STEP_DEG)
    azimuth = np.radians(np.arange(-count, count + 1) * AZIMUTH_STEP_DEG)
    rise, turn = np.meshgrid(np.radians(_ELEVATIONS_DEG), azimuth, indexing="ij")
    rays = [np.cos(rise) * np.cos(turn), np.cos(rise) * np.sin(turn), np.sin(rise)]
    return np.stack(rays, -1).reshape(-1, 3).astype(np.float32), turn.ravel()


def scan(
    rng: np.random.Generator,
    renderer: Renderer,
    owner: np.ndarray,
    names: tuple[str, ...],
    motion: Motion,
    view_T_radar: np.ndarray,
) -> np.ndarray:
    """One measurement: (P,) of dtype ``POINT``, nearest first.

    Args:
        rng: Source of fading, noise, ghosts and clutter.
        renderer: The scene.
        owner: (T,) actor of each of its triangles, -1 for none.
        names: (A,) class of each actor.
        motion: Who moves how.
        view_T_radar: (4, 4) transform of the radar's frame to the scene's.
    """
    rays, azimuth = _fan()
    directions = (rays @ view_T_radar[:3, :3].T).astype(np.float32)
    hits = renderer.tracer.cast(view_T_radar[:3, 3].astype(np.float32), directions)
    far = np.abs(azimuth) <= np.radians(FAR_HALF_VIEW_DEG)
    reach = np.where(far, FAR_RANGE_M, NEAR_RANGE_M)
    met = np.flatnonzero((hits.triangle >= 0) & (hits.distance_m < reach))
    triangle, distance = hits.triangle[met], hits.distance_m[met].astype(np.float64)
    up = np.broadcast_to(view_T_radar[:3, 2].astype(np.float32), (len(met), 3))
    cosine = renderer.cosine(triangle, directions[met])
    rcs = _cross_section(rng, owner[triangle], names)
    level = rcs + 10 * np.log10(cosine**2 + 0.05) - 40 * np.log10(distance / 40)
    chance = 1 / (1 + np.exp((_THRESHOLD_DBSM - level) / 2))
    # The road mirrors what hits it at a low angle; none of it comes back.
    noticed = (rng.random(len(met)) < chance) & (renderer.cosine(triangle, up) < 0.7)
    picked = np.flatnonzero(noticed)
    who, where = owner[triangle[picked]], azimuth[met[picked]]
    keep = _few(rng, who, where, distance[picked])
    who, where, picked = who[keep], where[keep], picked[keep]
    velocity = np.vstack([motion.actors_mps, np.zeros((1, 2))])[who]
    line = np.stack([np.cos(where), np.sin(where)], 1)
    speed = (velocity * line).sum(1)
    true = np.stack([distance[picked], where, speed, rcs[picked]], 1)
    returns, state = _with_artefacts(rng, true, who >= 0)
    return _table(rng, returns, state, motion.own_mps)


def _cross_section(rng, who: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """(N,) fluctuating cross-section in dBsm of actors (N,), -1 for buildings."""
    table = np.array([RCS_DBSM[name] for name in names] + [_CLUTTER_RCS_DBSM])
    mean, deviation = table[who].T
    return rng.normal(mean, deviation)


def _few(rng, who: np.ndarray, azimuth: np.ndarray, distance: np.ndarray):
    """Indices of what survives clustering: a few per actor, one per wall and 5°."""
    sector = np.floor(np.degrees(azimuth) / 5).astype(int)
    group = np.where(who >= 0, who, -100 + sector)
    order = np.lexsort((rng.random(len(group)), group))
    groups, first, index = np.unique(
        group[order], return_index=True, return_inverse=True
    )
    rank = np.arange(len(order)) - first[index]
    nearest = np.full(len(groups), np.inf)
    np.minimum.at(nearest, index, distance[order])
    wanted = 1 + rng.poisson(15 / np.maximum(nearest, 5))
    wanted = np.where(groups >= 0, wanted, rng.random(len(groups)) < 0.5)
    return np.sort(order[rank < wanted[index]])


def _with_artefacts(rng, true: np.ndarray, actor: np.ndarray):
    """Add multipath ghosts of actors and clutter to (P, 4) true returns.

    Columns are range, azimuth, radial speed over the ground and cross-section; also
    (P,) nuScenes' invalid_state.
    """
    source = true[actor & (rng.random(len(true)) < GHOST_SHARE)]
    ghost = source.copy()
    # Half of them went to the target twice, the others by way of a wall.
    twice = rng.random(len(ghost)) < 0.5
    ghost[:, 0] *= np.where(twice, 2.0, rng.uniform(1.1, 1.6, len(ghost)))
    ghost[:, 1] += np.where(twice, 0.0, rng.normal(0, 0.15, len(ghost)))
    ghost[:, 2] *= np.where(twice, 2.0, 1.0)
    ghost[:, 3] -= rng.uniform(4, 10, len(ghost))
    count = rng.poisson(2)
    side = np.radians(HALF_VIEW_DEG)
    where = rng.uniform(2, NEAR_RANGE_M, count), rng.uniform(-side, side, count)
    clutter = [*where, rng.normal(0, 0.3, count), rng.uniform(-8, 3, count)]
    # The radar's own filter recognises some of both.
    ghostly = np.where(rng.random(len(ghost)) < 0.4, _MIRRORED, _VALID)
    weak = np.where(rng.random(count) < 0.4, _LOW_RCS, _VALID)
    state = np.concatenate([np.full(len(true), _VALID), ghostly, weak])
    return np.concatenate([true, ghost, np.stack(clutter, 1)]), state


def _table(rng, returns: np.ndarray, state: np.ndarray, own_mps: np.ndarray):
    """What the radar reports of (P, 4) returns: noise, Doppler, codes."""
    distance, azimuth, speed, rcs = returns.T
    count = len(returns)
    distance = np.maximum(distance + rng.normal(0, RANGE_NOISE_M, count), 0.2)
    wide = np.abs(azimuth) / np.radians(HALF_VIEW_DEG)
    azimuth = azimuth + np.radians(0.2 + 0.8 * wide) * rng.normal(0, 1, count)
    speed = speed + rng.normal(0, SPEED_NOISE_MPS, count)
    line = np.stack([np.cos(azimuth), np.sin(azimuth)])
    table = np.zeros(count, POINT)
    table["x"], table["y"] = distance * line
    table["vx_comp"], table["vy_comp"] = speed * line
    # What it measures is the speed relative to itself.
    table["vx"], table["vy"] = (speed - own_mps @ line) * line
    table["rcs"] = np.round(rcs * 2) / 2
    moving = np.where(speed < 0, _ONCOMING, _MOVING)
    table["dyn_prop"] = np.where(np.abs(speed) < 0.5, _STATIONARY, moving)
    table["is_quality_valid"], table["ambig_state"] = 1, _UNAMBIGUOUS
    table["x_rms"], table["y_rms"], table["vx_rms"], table["vy_rms"] = 19, 20, 16, 16
    table["invalid_state"] = state
    table["pdh0"] = np.where(state == _VALID, rng.choice([1, 1, 1, 2, 3], count), 5)
    table = table[np.argsort(distance, kind="stable")]
    table["id"] = np.arange(count)
    return table


def radar_pcd(returns: np.ndarray) -> bytes:
    """A binary PCD v0.7 file of (P,) returns, as nuScenes writes them."""
    if not len(returns):
        # The format knows no empty cloud: NaN in the only point stands for one.
        returns = np.zeros(1, POINT)
        returns["x"] = returns["y"] = returns["z"] = np.nan
    assert POINT.names is not None
    kinds = [POINT[name] for name in POINT.names]
    header = f"""\
# .PCD v0.7 - Point Cloud Data file format
VERSION 0.7
FIELDS {" ".join(POINT.names)}
SIZE {" ".join(str(kind.itemsize) for kind in kinds)}
TYPE {" ".join(kind.kind.upper() for kind in kinds)}
COUNT {" ".join("1" for _ in kinds)}
WIDTH {len(returns)}
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS {len(returns)}
DATA binary
"""
    # The development kit wants at least one byte after the last point.
    return header.encode() + returns.tobytes() + b"\n"
