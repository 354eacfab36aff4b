"""Corruptions of published suites by their names, with their own severities.

Only what is public and means something for one camera and one LiDAR is here; levels are
the suites' own numbers, the code is ours. Where ours is not the same, it says so:

MultiCorrupt (Beemelmanns et al., IV 2024, github.com/ika-rwth-aachen/MultiCorrupt), 3
severities, ``multicorrupt_*``: ``beamsreducing`` (16, 8, 4 of 32 beams; beams are 32
equal steps of elevation), ``pointsreducing``, ``brightness``, ``dark``, ``motionblur``
(camera and LiDAR), ``missingcamera``, ``spatialmisalignment``,
``temporalmisalignment`` (camera and LiDAR; frames must follow each other), ``fog`` (the
same extinction in our fog model, camera and LiDAR). Not here: ``snow``, which needs
simulated snowflakes.

KITTI-C (Dong et al., CVPR 2023, github.com/thu-ml/3D_Corruptions_AD), 5 severities of
its LiDAR corruptions, ``kitti_c_*``: ``density``, ``cutout``, ``gaussian``,
``uniform``, ``impulse``, ``crosstalk``, ``sunlight``, ``fog`` (in our fog model),
``temporal``. Not here: lost field of view (a front camera's lies within what is left),
corruptions of single objects, rain and snow (external simulators), camera corruptions.

RoboBEV (Xie et al., TPAMI 2025, github.com/Daniel-xsy/RoboBEV), 3 severities,
``robobev_*``: ``color_quant``, ``brightness``, ``low_light``, ``frame_lost``. Not here:
camera crash (the loss of one of six; with one camera ``camera_blackout_5``), motion
blur, fog and snow (of an image library).

nuScenes-R (Yu et al., 2022, github.com/ADLab-AutoDrive/lidar-camera-robust-benchmark),
``nuscenes_r_stuck``: in 10, 30, 50, 70 or 90 % of the frames the sensor shows the one
before (its discrete setting). Not here: lost field of view, object failure, masks.

Shape letters: P points, F features; C channels, H, W image height and width in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from perception.attacks.base import Perturbation
from perception.attacks.batch import AttackBatch
from perception.attacks.threats.budgets import generator
from perception.attacks.victim import Victim
from perception.core.structures import SensorKind, SensorSpec
from perception.corruptions import maps, points
from perception.corruptions.base import CORRUPTIONS, Corruption, Effect
from perception.corruptions.in_time import TimeFailure
from perception.corruptions.maps import KOSCHMIEDER, Reading

_BEAMS = 32
_BLUR_PX = 31
# Photons of full scale and noise of the electronics by the brightness that is left.
_DARK = {0.6: (250, 0.008), 0.5: (250, 0.012), 0.4: (120, 0.018), 0.3: (50, 0.026)}


def one_beam_in(reading: Reading, count: float) -> Reading:
    """Only every so many-th of 32 beams is left."""
    cloud = reading.value
    if not len(cloud):
        return reading
    elevation = torch.atan2(cloud[:, 2], cloud[:, :2].norm(dim=1))
    low, high = elevation.min(), elevation.max()
    step = (high - low).clamp(min=1e-6) / _BEAMS
    beam = ((elevation - low) / step).long().clamp(max=_BEAMS - 1)
    return points.keep(reading, beam % int(count) == 1)


def shaken_m(reading: Reading, sigma: float) -> Reading:
    """The whole cloud is displaced, and every point a little on its own."""
    moved = reading.value.clone()
    alone = torch.tensor([0.15, 0.2, 0.12]).to(moved) * sigma
    offset = sigma * reading.normal(3)
    jitter = (alone * reading.normal(len(moved), 3)).clamp(-3 * sigma, 3 * sigma)
    moved[:, :3] += offset + jitter
    return replace(reading, value=moved)


def askew_deg(reading: Reading, angle: float) -> Reading:
    """In a fifth of the frames per degree: turned around all axes, 2 m to the right."""
    if float(reading.uniform(1)) >= 0.2 * angle:
        return reading
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn_x = torch.tensor([[1, 0, 0], [0, c, s], [0, -s, c]])
    turn_y = torch.tensor([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    turn_z = torch.tensor([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    # The suite's axes are nuScenes': x to the right, y ahead.
    theirs_T_ours = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    turn = theirs_T_ours.T @ turn_x @ turn_y @ turn_z @ theirs_T_ours
    moved = reading.value.clone()
    moved[:, :3] = moved[:, :3] @ turn.T.to(moved)
    moved[:, 1] -= 2.0
    return replace(reading, value=moved)


def noisy(reading: Reading, sigma: float) -> Reading:
    """Gaussian noise on every number of every point."""
    noise = sigma * reading.normal(*reading.value.shape)
    return replace(reading, value=reading.value + noise)


def uniformly_noisy(reading: Reading, most: float) -> Reading:
    """Uniform noise on every number of every point."""
    noise = most * (2 * reading.uniform(*reading.value.shape) - 1)
    return replace(reading, value=reading.value + noise)


def some_off(reading: Reading, share: float, sigma: float) -> Reading:
    """This share of the points is off by Gaussian noise in all its numbers."""
    hit = reading.uniform(len(reading.value), 1) < share
    noise = sigma * reading.normal(*reading.value.shape)
    return replace(reading, value=reading.value + noise * hit)


def crosstalk_share(reading: Reading, share: float) -> Reading:
    """Other LiDARs' light: these points are off by 3."""
    return some_off(reading, share, 3.0)


def sunlight_share(reading: Reading, share: float) -> Reading:
    """Glare: these points are off by 2."""
    return some_off(reading, share, 2.0)


def impulses_one_in(reading: Reading, count: float) -> Reading:
    """One point in so many has all its numbers off by 0.1 up or down."""
    cloud = reading.value
    hit = reading.uniform(len(cloud), 1) < 1 / count
    sign = torch.where(reading.uniform(*cloud.shape) < 0.5, -0.1, 0.1)
    return replace(reading, value=cloud + sign * hit)


def cut_out(reading: Reading, count: float) -> Reading:
    """So many times a point and the 2 % of all that are nearest to it are lost."""
    cloud = reading.value
    size = int(len(cloud) * 0.02)
    for place in reading.uniform(int(count)).tolist():
        if len(cloud) <= size or not size:
            break
        centre = cloud[int(place * len(cloud)), :3]
        order = (cloud[:, :3] - centre).norm(dim=1).argsort(stable=True)
        cloud = cloud[order[size:].sort().values]
    return replace(reading, value=cloud)


def brighter(reading: Reading, share: float) -> Reading:
    """The value of hue, saturation and value rises by this share of full scale."""
    rgb = reading.value / 255
    value = rgb.amax(dim=0, keepdim=True)
    raised = (value + share).clamp(max=1)
    # Hue and saturation stay where they are known: all channels by the same factor.
    grey = raised.expand_as(rgb)
    scaled = torch.where(value > 0, rgb * raised / value.clamp(min=1e-6), grey)
    return replace(reading, value=255 * scaled)


def dark(reading: Reading, left: float) -> Reading:
    """Stretched, squared, scaled to this brightness; then photons and electronics."""
    photons, sigma = _DARK[left]
    light = reading.value / 255
    low, high = light.min(), light.max()
    light = left * ((light - low) / (high - low).clamp(min=1e-6)) ** 2
    counts = torch.poisson((photons * light).cpu(), generator=reading.generator)
    light = (counts.to(light) / photons).clamp(0, 1)
    noise = sigma * reading.normal(*light.shape)
    return replace(reading, value=255 * (light + noise).clamp(0, 1))


def blurred_px(reading: Reading, sigma: float) -> Reading:
    """The camera moved during the exposure, in a direction within 45° of the rows."""
    angle = math.radians(90 * float(reading.uniform(1)) - 45)
    steps = torch.arange(_BLUR_PX, dtype=torch.float32)
    weights = (-(steps**2) / (2 * sigma**2)).exp()
    picture, total = reading.value, torch.zeros_like(reading.value)
    height, width = picture.shape[-2:]
    rows, columns = torch.arange(height), torch.arange(width)
    for step, weight in zip(
        steps.tolist(), (weights / weights.sum()).tolist(), strict=True
    ):
        down, right = round(step * math.sin(angle)), round(step * math.cos(angle))
        from_rows = (rows + down).clamp(0, height - 1)
        from_columns = (columns + right).clamp(0, width - 1)
        total += weight * picture[:, from_rows][:, :, from_columns]
    return replace(reading, value=total)


def quantised_bits(reading: Reading, bits: float) -> Reading:
    """Only so many bits of each grey level are left."""
    step = 2 ** (8 - int(bits))
    return replace(reading, value=(reading.value / step).floor() * step)


def lost_in(reading: Reading, chance: float) -> Reading:
    """The picture is black, with this chance."""
    if float(reading.uniform(1)) >= chance:
        return reading
    return replace(reading, value=torch.zeros_like(reading.value))


def _visibilities_m(*extinctions: float) -> tuple[float, ...]:
    return tuple(KOSCHMIEDER / one for one in extinctions)


def _points(apply: Any, *levels: float) -> dict[SensorKind, Effect]:
    return {"points": Effect(apply, levels)}


def _image(apply: Any, *levels: float) -> dict[SensorKind, Effect]:
    return {"image": Effect(apply, levels)}


_MC_FOG, _KC_FOG = (0.02, 0.03, 0.06), (0.005, 0.01, 0.02, 0.03, 0.06)
_TENTHS = (0.02, 0.04, 0.06, 0.08, 0.10)
PUBLISHED: Mapping[str, Mapping[SensorKind, Effect]] = {
    "multicorrupt_beamsreducing": _points(one_beam_in, 2, 4, 8),
    "multicorrupt_pointsreducing": _points(points.blackout_share, 0.2, 0.4, 0.6),
    "multicorrupt_brightness": _image(brighter, 0.1, 0.3, 0.5),
    "multicorrupt_dark": _image(dark, 0.6, 0.4, 0.3),
    "multicorrupt_motionblur": {
        **_image(blurred_px, 6.0, 10.0, 13.0),
        **_points(shaken_m, 0.06, 0.1, 0.13),
    },
    "multicorrupt_missingcamera": _image(lost_in, 0.2, 0.4, 0.6),
    "multicorrupt_spatialmisalignment": _points(askew_deg, 1.0, 2.0, 3.0),
    "multicorrupt_fog": {
        **_image(maps.fog_image_visibility_m, *_visibilities_m(*_MC_FOG)),
        **_points(points.fog_visibility_m, *_visibilities_m(*_MC_FOG)),
    },
    "kitti_c_density": _points(points.blackout_share, 0.06, 0.12, 0.18, 0.24, 0.3),
    "kitti_c_cutout": _points(cut_out, 2, 3, 5, 7, 10),
    "kitti_c_gaussian": _points(noisy, *_TENTHS),
    "kitti_c_uniform": _points(uniformly_noisy, *_TENTHS),
    "kitti_c_impulse": _points(impulses_one_in, 30, 25, 20, 15, 10),
    "kitti_c_crosstalk": _points(crosstalk_share, 0.004, 0.008, 0.012, 0.016, 0.02),
    "kitti_c_sunlight": _points(sunlight_share, 0.01, 0.02, 0.03, 0.04, 0.05),
    "kitti_c_fog": _points(points.fog_visibility_m, *_visibilities_m(*_KC_FOG)),
    "robobev_color_quant": _image(quantised_bits, 4, 3, 2),
    "robobev_brightness": _image(brighter, 0.1, 0.2, 0.3),
    "robobev_low_light": _image(dark, 0.5, 0.4, 0.3),
    "robobev_frame_lost": _image(lost_in, 1 / 6, 2 / 6, 3 / 6),
}
# Those that leave some frames as they are, and the chance that they do not, per level.
_CHANCES = {
    "multicorrupt_missingcamera": 1.0,
    "multicorrupt_spatialmisalignment": 0.2,
    "robobev_frame_lost": 1.0,
}


@dataclass(frozen=True, kw_only=True)
class _Published(Corruption):
    """A corruption of a suite on one sensor."""

    kinds: ClassVar[Mapping[str, Mapping[SensorKind, Effect]]] = PUBLISHED

    def acts_on(self, number: int) -> bool:
        """Whether the frame was drawn, for those that spare some."""
        if self.kind not in _CHANCES:
            return True
        draw = float(
            torch.rand(1, generator=generator(self.seed, number, 0, self.sensor))
        )
        level = next(iter(self.kinds[self.kind].values())).levels[self.severity - 1]
        return draw < _CHANCES[self.kind] * level


@CORRUPTIONS.register_module()
@dataclass(frozen=True, kw_only=True)
class PublishedCorruption(Perturbation):
    """A corruption of a published suite, on all sensors that it happens to at once.

    Called, it proves of each of them that its input changed in every frame, but for
    those that the suite's own draws spare.

    Attributes:
        name: Its name everywhere.
        sensors: The sensors that it happens to.
        kind: A key of ``PUBLISHED``, or of the suites' delays in ``TimeFailure``.
        severity: As the suite counts, from 1.
        seed: Seed of every random draw.
        replay: See :class:`Corruption`; for delays.
    """

    name: str
    sensors: tuple[str, ...]
    kind: str
    severity: int = 1
    seed: int = 0
    replay: Sequence[Mapping[str, Any]] | None = field(
        default=None, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "sensors", tuple(self.sensors))
        if not self.sensors:
            raise ValueError(f"corruption {self.name!r}: expected sensors, got none")
        _ = self._parts  # unknown kinds and severities are told at once

    @property
    def _parts(self) -> list[Corruption]:
        delayed = self.kind in TimeFailure.kinds
        made: type[Corruption] = TimeFailure if delayed else _Published
        fields: dict[str, Any] = {"kind": self.kind, "severity": self.severity}
        fields |= {"seed": self.seed, "replay": self.replay}
        return [
            made(name=self.name, sensor=sensor, **fields) for sensor in self.sensors
        ]

    @property
    def touched(self) -> tuple[str, ...]:
        """All its sensors."""
        return self.sensors

    def check(self, sensors: Mapping[str, SensorSpec]) -> None:
        """Raise ValueError if it cannot happen to one of the sensors."""
        for part in self._parts:
            part.check(sensors)

    def find(self, victim: Victim) -> tuple[None, dict[str, Tensor]]:
        """The failed sensors' inputs."""
        return None, {part.sensor: part.render(victim.batch) for part in self._parts}

    def prove(self, batch: AttackBatch, changed: Mapping[str, Tensor]) -> None:
        """Raise NoEffectError if a sensor that had data is as it was in a frame."""
        for part in self._parts:
            part.prove(batch, changed)
