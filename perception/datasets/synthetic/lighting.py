"""Sun, overcast and night: what light reaches a point and what the sky looks like.

Everything is in the cam frame (y down) and in linear radiance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UP = np.array([0.0, -1.0, 0.0], np.float32)


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
        headlights: Whether the own car's headlights are on.
        lit_windows: Share of windows with light behind them.
    """

    kind: str
    key_direction: np.ndarray
    key_colour: np.ndarray
    ambient: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    haze_m: float
    lamps_m: np.ndarray
    lamp_colour: np.ndarray
    headlights: bool
    lit_windows: float

    @property
    def night(self) -> bool:
        """Whether lamps shine."""
        return self.kind == "night"

    def sky(self, direction: np.ndarray) -> np.ndarray:
        """(N, 3) radiance of the sky in unit directions (N, 3)."""
        rise = np.clip(-direction[:, 1], 0, 1)[:, None]
        colour = self.horizon + (self.zenith - self.horizon) * np.sqrt(rise)
        if self.night:
            return colour
        # Two crossed waves make soft cloud banks without a texture.
        stretch = direction[:, [0, 2]] / (rise + 0.12)
        cloud = np.sin(2.1 * stretch[:, 0] + 1.3 * np.sin(1.7 * stretch[:, 1]))
        cloud += np.sin(3.7 * stretch[:, 1] + 2.0 * np.sin(2.3 * stretch[:, 0]))
        cover = np.clip(0.3 * cloud, 0, 0.5)[:, None].astype(np.float32)
        colour = colour + (self.horizon - colour) * cover
        glare = np.clip(direction @ self.key_direction, 0, 1) ** 200
        return colour + (glare[:, None] * self.key_colour).astype(np.float32)


def _unit(azimuth: float, elevation: float) -> np.ndarray:
    """Direction in the cam frame; azimuth 0 is straight ahead, positive right."""
    flat = np.cos(elevation)
    return np.array(
        [flat * np.sin(azimuth), -np.sin(elevation), flat * np.cos(azimuth)], np.float32
    )


def random_lighting(rng: np.random.Generator, lamps_m: np.ndarray) -> Lighting:
    """Half sun, the rest overcast or night.

    Args:
        rng: Source of the weather.
        lamps_m: (L, 3) street lamps in the cam frame, lit only at night.
    """
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
        headlights=kind == "night",
        lit_windows=float(rng.uniform(0.1, 0.45)) if kind == "night" else 0.0,
    )


def lamp_light(
    lighting: Lighting, points: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Brightest street lamp of each point and the (unshadowed) light of the others.

    Args:
        lighting: The scene's light.
        points: (N, 3) surface points.
        normals: (N, 3) unit normals towards the viewer.

    Returns:
        (N, 3) position of each point's brightest lamp, and (N, L) irradiance of
        every lamp as a share of ``lamp_colour``.
    """
    gap = lighting.lamps_m[None] - points[:, None]
    square = (gap**2).sum(-1)
    facing = np.einsum("nlc,nc->nl", gap, normals) / np.sqrt(square)
    share = np.clip(facing, 0, 1) / np.maximum(square, 4.0)
    return lighting.lamps_m[np.argmax(share, 1)], share


def headlight(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """(N,) irradiance of the own car's low beam on points (N, 3)."""
    bulb = np.array([0.0, 0.9, 1.2], np.float32)
    gap = points - bulb
    distance = np.linalg.norm(gap, axis=1)
    ray = gap / distance[:, None]
    beam = np.exp(-((ray[:, 0] / 0.38) ** 2))
    # The low beam's cut-off lets little light through above the horizon.
    beam *= 0.12 + 0.88 / (1 + np.exp(-(ray[:, 1] - 0.0) / 0.012))
    facing = np.clip(-(ray * normals).sum(1), 0, 1)
    return beam * facing * 45.0 / np.maximum(distance, 3.0) ** 2
