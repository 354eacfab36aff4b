"""Sun, overcast and night: what light reaches a point and what the sky looks like.

Everything is in the cam frame (y down) and in linear radiance.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Lighting:
    """The light of one scene.

    Attributes:
        kind: ``sun``, ``overcast`` or ``night``.
        key_direction: (3,) unit vector towards sun (or bright patch of cloud, moon).
        key_colour: (3,) its irradiance.
        ambient: (3,) light from everywhere.
        zenith, horizon: (3,) radiance of the sky above and at the horizon.
        haze_m: Distance at which haze hides 63 % of a surface.
        lamps_m: (L, 3) positions of street lamps.
        lamp_colour: (3,) their intensity at 1 m.
        lit_windows: Share of windows with light behind them.
    """

    kind: str
    key_direction: np.ndarray
    key_colour: np.ndarray
    ambient: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    haze_m: float = 1e6
    lamps_m: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    lamp_colour: np.ndarray = field(default_factory=lambda: np.ones(3, np.float32))
    lit_windows: float = 0.0

    @property
    def night(self) -> bool:
        """Whether lamps shine."""
        return self.kind == "night"

    def sky(self, direction: np.ndarray) -> np.ndarray:
        """(3, N) radiance of the sky in unit directions (3, N)."""
        rise = np.clip(-direction[1], 0, 1)
        zenith, horizon = self.zenith[:, None], self.horizon[:, None]
        colour = horizon + (zenith - horizon) * np.sqrt(rise)
        if self.night:
            return colour
        # Two crossed waves make soft cloud banks without a texture.
        x, z = direction[::2] / (rise + np.float32(0.12))
        cloud = np.sin(2.1 * x + 1.3 * np.sin(1.7 * z))
        cloud += np.sin(3.7 * z + 2.0 * np.sin(2.3 * x))
        colour += (horizon - colour) * np.clip(0.3 * cloud, 0, 0.5)
        glare = steep_power(np.clip(self.key_direction @ direction, 0, 1), 200)
        return colour + self.key_colour[:, None] * glare


def steep_power(base: np.ndarray, exponent: int) -> np.ndarray:
    """``base ** exponent`` of (N,) float32 in 0 … 1, without computing what is 0.

    NumPy takes many times as long for each power that underflows.
    """
    power = np.zeros_like(base)
    # Half of float32's smallest number is 2 ** -150; a little less than its root.
    index = np.flatnonzero(base > 0.999 * 2 ** (-150 / exponent))
    power[index] = base[index] ** exponent
    return power


def _unit(azimuth: float, elevation: float) -> np.ndarray:
    """Direction in the cam frame; azimuth 0 is straight ahead, positive right."""
    flat, up = np.cos(elevation), np.sin(elevation)
    return np.array([flat * np.sin(azimuth), -up, flat * np.cos(azimuth)], np.float32)


def random_lighting(rng: np.random.Generator, lamps_m: np.ndarray) -> Lighting:
    """Half sun, the rest overcast or night, when the (L, 3) lamps are lit."""
    kind = ("sun", "overcast", "night")[rng.choice(3, p=(0.52, 0.26, 0.22))]
    azimuth = rng.uniform(-np.pi, np.pi)
    if kind == "sun":
        elevation = rng.uniform(0.25, 1.15)
        warmth = np.clip(1.2 - elevation, 0, 1)
        key = rng.uniform(1.5, 2.4) * np.array([1, 1 - 0.15 * warmth, 1 - 0.4 * warmth])
        ambient = rng.uniform(0.28, 0.5) * np.array([0.85, 0.95, 1.15])
        zenith, horizon = np.array([0.22, 0.42, 0.85]), np.array([0.75, 0.85, 0.95])
    elif kind == "overcast":
        elevation = rng.uniform(1.25, 1.5)
        key = rng.uniform(0.45, 0.7) * np.ones(3)
        ambient = rng.uniform(0.45, 0.65) * np.array([0.97, 1.0, 1.04])
        zenith = horizon = rng.uniform(0.7, 1.1) * np.array([0.95, 0.98, 1.0])
    else:
        elevation = rng.uniform(0.5, 1.2)
        key = 0.02 * np.array([0.8, 0.9, 1.2])
        ambient = rng.uniform(0.012, 0.035) * np.array([0.9, 0.95, 1.2])
        zenith, horizon = np.array([0.003, 0.004, 0.008]), np.array([0.02, 0.018, 0.02])
    warm = np.array([[1.0, 0.72, 0.38], [1.0, 0.93, 0.8]][rng.integers(2)])
    return Lighting(
        kind=kind,
        key_direction=_unit(azimuth, elevation),
        key_colour=key.astype(np.float32),
        ambient=ambient.astype(np.float32),
        zenith=zenith.astype(np.float32),
        horizon=horizon.astype(np.float32),
        haze_m=float(rng.uniform(120, 900)),
        lamps_m=np.asarray(lamps_m, np.float32).reshape(-1, 3),
        lamp_colour=(rng.uniform(9, 16) * warm).astype(np.float32),
        lit_windows=float(rng.uniform(0.1, 0.45)) if kind == "night" else 0.0,
    )


def lamp_light(
    lighting: Lighting, points: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Street lamps' light on points (3, N) with unit normals (3, N), without shadows.

    Returns:
        (N,) index of each point's brightest lamp, (N,) that lamp's irradiance and
        (N,) the sum over all lamps, as shares of ``lamp_colour``.
    """
    best = np.zeros(points.shape[1], np.int64)
    brightest, total = np.zeros((2, points.shape[1]), np.float32)
    for index, lamp in enumerate(lighting.lamps_m):
        gap = lamp[:, None] - points
        square = np.einsum("cn,cn->n", gap, gap)
        facing = np.einsum("cn,cn->n", gap, normals) / np.sqrt(square)
        share = np.clip(facing, 0, 1) / np.maximum(square, 4)
        best[share > brightest] = index
        np.maximum(brightest, share, out=brightest)
        total += share
    return best, brightest, total


def headlight(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """(N,) irradiance of the own car's low beam on points (3, N)."""
    bulb = np.array([[0.0], [0.9], [1.2]], np.float32)
    ray = points - bulb
    distance = np.sqrt(np.einsum("cn,cn->n", ray, ray))
    ray /= distance
    beam = np.exp(-((ray[0] / 0.38) ** 2))
    # The low beam's cut-off lets little light through above the horizon.
    beam *= 0.12 + 0.88 / (1 + np.exp(np.clip(ray[1] / -0.012, -50, 50)))
    facing = np.clip(-np.einsum("cn,cn->n", ray, normals), 0, 1)
    return beam * facing * 45 / np.maximum(distance, 3) ** 2
