"""Spinning LiDARs: pattern, noise, drop-out, reflectance.

Shape letters: P points; N rays. Points are in the LiDAR's frame: x forward, y left,
z up, metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from perception.datasets.synthetic.assets.surfaces import TEXTURES, Column
from perception.datasets.synthetic.sensing.rendering import Renderer
from perception.datasets.synthetic.sensing.tracing import Hits
from perception.datasets.synthetic.world.lighting import steep_power

MAX_RANGE_M = 100.0
MIN_RANGE_M = 1.5
RANGE_NOISE_M = 0.02
# Weakest echo that is usually noticed: 0.08 at 60 m.
ECHO_THRESHOLD = 0.08
GLASS_LOSS = 0.7
RANDOM_LOSS = 0.02
_LEAVES = TEXTURES.index("leaves")


def beam_elevations_deg() -> np.ndarray:
    """(64,) elevation of the beams: 32 at 1/3°, below them 32 at 1/2° spacing.

    Real units deviate from the nominal angles by hundredths of a degree; the
    deviations here are fixed, as one unit's are.
    """
    upper = np.linspace(2.0, -8.33, 32)
    lower = np.linspace(-8.83, -24.8, 32)
    wobble = 0.04 * np.sin(np.arange(64) * 2.39996)
    wobble[[0, -1]] = 0
    return np.concatenate([upper, lower]) + wobble


@dataclass(frozen=True)
class Beams:
    """What a spinning LiDAR fires.

    Attributes:
        elevations_deg: (B) of its lasers.
        azimuth_step_deg: Between two shots of a laser.
    """

    elevations_deg: tuple[float, ...]
    azimuth_step_deg: float


HDL64 = Beams(tuple(beam_elevations_deg().tolist()), 0.1728)


@lru_cache(maxsize=4)
def beam_directions(half_view_rad: float = np.pi, beams: Beams = HDL64) -> np.ndarray:
    """(N, 3) unit rays of one revolution, or of ±``half_view_rad`` around x.

    They come laser by laser, in the order of ``beams``. The array is shared between
    calls: do not write to it.
    """
    elevation = np.radians(beams.elevations_deg)
    count = round(360 / beams.azimuth_step_deg)
    azimuth = (np.arange(count) - count // 2) * (2 * np.pi / count)
    azimuth = azimuth[np.abs(azimuth) <= half_view_rad]
    # The lasers sit side by side and fire one after the other.
    phase = (np.arange(len(elevation)) * 7) % 16 / 16 - 0.5
    stagger = np.radians(beams.azimuth_step_deg) * phase
    turn = azimuth[None, :] + stagger[:, None]
    rise = np.broadcast_to(elevation[:, None], turn.shape)
    flat = np.cos(rise)
    rays = np.stack([flat * np.cos(turn), flat * np.sin(turn), np.sin(rise)], -1)
    return rays.reshape(-1, 3).astype(np.float32)


def scan(
    rng: np.random.Generator,
    renderer: Renderer,
    cam_T_lidar: np.ndarray,
    half_view_rad: float = np.pi,
    beams: Beams = HDL64,
) -> tuple[np.ndarray, np.ndarray]:
    """One revolution of a LiDAR: x, y, z (m), reflectance (P, 4), and lasers (P,).

    ``cam_T_lidar`` (4, 4) leads from its frame to the renderer's, the cam frame; rays
    further than ``half_view_rad`` from x are not cast.
    """
    rays = beam_directions(half_view_rad, beams)
    origin = cam_T_lidar[:3, 3].astype(np.float32)
    directions = (rays @ cam_T_lidar[:3, :3].T).astype(np.float32)
    hits = renderer.tracer.cast(origin, directions)
    reach, hits, incoming, sheen = _through_mirrors(renderer, origin, directions, hits)
    met = np.flatnonzero((hits.triangle >= 0) & (reach < MAX_RANGE_M))
    kept = hits.at(met)
    step_rad = float(np.radians(beams.azimuth_step_deg))
    echo, glassy = _echo(renderer, kept, incoming.take(met, 0), step_rad)
    echo *= sheen[met]
    # A return is seen if its echo, which falls with the square of the range,
    # exceeds a noisy threshold; a few are lost for no visible reason.
    strength = echo * (60.0 / np.maximum(reach[met], 5.0)) ** 2
    lost = strength < ECHO_THRESHOLD * np.exp(rng.normal(0, 0.6, len(met)))
    # Most of the light that meets a pane goes through it or is mirrored away.
    lost |= rng.random(len(met)) < np.where(glassy, GLASS_LOSS, RANDOM_LOSS)
    leaf = renderer.column(kept.triangle, Column.TEXTURE) == _LEAVES
    spread = np.where(leaf, 0.12, RANGE_NOISE_M)
    measured = reach[met] + rng.normal(0, 1, len(met)) * spread
    grey = np.clip(echo * np.exp(rng.normal(0, 0.08, len(met))), 0, 0.99)
    good = ~lost & (measured > MIN_RANGE_M)
    seen = met[good]
    # The unit reports reflectance in hundredths.
    columns = [*(rays.take(seen, 0).T * measured[good]), np.round(grey[good], 2)]
    ring = seen // (len(rays) // len(beams.elevations_deg))
    return np.stack(columns, 1).astype(np.float32), ring


def _through_mirrors(renderer: Renderer, origin, directions, hits: Hits):
    """Follow rays off mirrors: total range, final hits and rays, share that is left."""
    reach, incoming = hits.distance_m.copy(), directions.copy()
    sheen = np.ones(len(directions), np.float32)
    mirror = renderer.column(hits.triangle, Column.MIRROR) > 0
    index = np.flatnonzero((hits.triangle >= 0) & mirror)
    if len(index):
        start, ray = renderer.reflected(origin, directions[index], hits, index)
        second = renderer.tracer.cast(start, ray)
        hits.distance_m[index] = second.distance_m
        hits.triangle[index] = second.triangle
        hits.barycentric[index] = second.barycentric
        reach[index] += second.distance_m
        incoming[index] = ray
        # Light passes the mirror twice.
        sheen[index] = 0.5
    return reach, hits, incoming, sheen


def _echo(
    renderer: Renderer, hits: Hits, incoming: np.ndarray, pixel_rad: float
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) strength of the echo, range apart, and (N,) whether it comes off glass."""
    cosine = renderer.cosine(hits.triangle, incoming)
    albedo, glass, _ = renderer.albedo(hits, cosine, pixel_rad)
    base = renderer.column(hits.triangle, Column.REFLECTANCE)
    rgb = [renderer.column(hits.triangle, Column(channel)) for channel in range(3)]
    colour = np.maximum(np.mean(rgb, 0), 1e-3)
    pattern = np.clip(albedo.mean(0) / colour, 0.3, 1.3)
    gloss = np.maximum(renderer.column(hits.triangle, Column.GLOSS), 0.9 * glass)
    diffuse = np.where(glass > 0.5, 0.05, base * pattern) * (1 - 0.5 * gloss)
    # Glossy surfaces send light back only when hit square on; matt ones fade slowly,
    # rough as they are; retro-reflectors return it from any side.
    lobe = gloss * steep_power(cosine, 60) * 0.6
    echo = diffuse * np.where(base >= 0.9, 1.0, cosine**0.6) + lobe
    return echo, gloss > 0.7
