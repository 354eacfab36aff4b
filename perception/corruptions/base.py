"""Sensor failures: harm without an attacker, with a severity from 1 to 5.

They happen to the raw data, pictures in 8-bit grey levels and points before they are
drawn, so that they are what the sensor would deliver. Built on the pattern of Hendrycks
and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations", ICLR 2019; every sensor has its own levels.

Shape letters: N frames, C channels, H, W image height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from perception.attacks.base import Attack
from perception.attacks.batch import AttackBatch
from perception.attacks.registry import ATTACKS, THREATS
from perception.attacks.threats.base import ThreatModel
from perception.attacks.threats.splat import View
from perception.attacks.victim import Victim
from perception.core.structures import SensorKind, SensorSpec
from perception.corruptions import maps, points
from perception.corruptions.maps import Reading

STALE = "stale"
_AGES = (1.0, 2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True)
class Effect:
    """What a failure does to one kind of sensor.

    Attributes:
        apply: From a reading and a level to the failed reading.
        levels: The level of each severity, 1 to 5.
    """

    apply: Callable[[Reading, float], Reading]
    levels: tuple[float, float, float, float, float]


def _unchanged(reading: Reading, _: float) -> Reading:
    return reading


_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
_VIEW_SHARES = (0.1, 0.2, 0.35, 0.5, 0.75)
_RAIN_SHARES = (0.05, 0.1, 0.2, 0.3, 0.45)
_VISIBILITIES_M = (200.0, 120.0, 70.0, 40.0, 20.0)
_ANGLES_DEG = (0.25, 0.5, 1.0, 2.0, 4.0)
_TRAVELLED_M = (0.5, 1.0, 2.0, 4.0, 8.0)  # 10 m/s for 0.05 … 0.8 s

FAILURES: Mapping[str, Mapping[SensorKind, Effect]] = {
    "blackout": {
        "image": Effect(maps.blackout_share, _SHARES),
        "depth": Effect(maps.blackout_share, _SHARES),
        "points": Effect(points.blackout_share, _SHARES),
    },
    # The older reading is fetched by the threat itself; the level is its age.
    STALE: {kind: Effect(_unchanged, _AGES) for kind in ("image", "depth", "points")},
    "noise": {
        "image": Effect(maps.noise_grey, (8.0, 16.0, 32.0, 48.0, 72.0)),
        "depth": Effect(maps.noise_per_m, (0.0005, 0.001, 0.002, 0.004, 0.008)),
        "points": Effect(points.noise_m, (0.03, 0.08, 0.2, 0.5, 1.0)),
    },
    "beam_loss": {
        "points": Effect(points.beam_loss_share, (0.1, 0.25, 0.5, 0.75, 0.9))
    },
    "view_loss": {
        "image": Effect(maps.view_loss_share, _VIEW_SHARES),
        "depth": Effect(maps.view_loss_share, _VIEW_SHARES),
        "points": Effect(points.view_loss_share, _VIEW_SHARES),
    },
    "fog": {
        "image": Effect(maps.fog_image_visibility_m, _VISIBILITIES_M),
        "depth": Effect(maps.fog_depth_visibility_m, _VISIBILITIES_M),
        "points": Effect(points.fog_visibility_m, _VISIBILITIES_M),
    },
    "rain": {
        "image": Effect(maps.rain_image_share, _RAIN_SHARES),
        "depth": Effect(maps.rain_depth_share, _RAIN_SHARES),
        "points": Effect(points.rain_share, _RAIN_SHARES),
    },
    "miscalibration": {
        "image": Effect(maps.misaligned_deg, _ANGLES_DEG),
        "depth": Effect(maps.misaligned_deg, _ANGLES_DEG),
        "points": Effect(points.misaligned_deg, _ANGLES_DEG),
    },
    "time_offset": {
        "image": Effect(maps.late_m, _TRAVELLED_M),
        "depth": Effect(maps.late_m, _TRAVELLED_M),
        "points": Effect(points.late_m, _TRAVELLED_M),
    },
}


def applicable(kind: str, spec: SensorSpec) -> bool:
    """Whether a sensor can fail in this way."""
    return spec.kind in FAILURES.get(kind, {})


@THREATS.register_module()
@dataclass(frozen=True, kw_only=True)
class FailureThreat(ThreatModel):
    """One sensor fails; nobody chooses how.

    The variable is (N, 1): 0 works, 1 fails.

    Attributes:
        kind: A key of ``FAILURES``.
        severity: 1 (hardly noticeable) to 5 (useless, or nearly so).
        replay: For ``stale``: packed frames as a data set yields them, in the order of
            time; frame number ``id`` shows the one ``age`` frames earlier. Without it
            the frames of the batch serve, and results depend on the batching. Where
            neighbours are other scenes (synthetic frames, KITTI's object benchmark)
            it is a replay of another scene, and its severity says little.
    """

    kind: str = "blackout"
    severity: int = 3
    replay: Sequence[Mapping[str, Any]] | None = field(
        default=None, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in FAILURES:
            raise ValueError(
                f"threat {self.name!r}: unknown failure {self.kind!r}; known: "
                f"{', '.join(FAILURES)}"
            )
        if self.severity not in (1, 2, 3, 4, 5):
            raise ValueError(
                f"threat {self.name!r}: severity must be 1 … 5, got {self.severity}"
            )

    def check(self, sensors: Mapping[str, Any]) -> None:
        """Also raise if this kind of sensor cannot fail so."""
        super().check(sensors)
        if not applicable(self.kind, sensors[self.sensor]):
            raise ValueError(
                f"threat {self.name!r}: {self.kind} happens to sensors of kind "
                f"{list(FAILURES[self.kind])}, and {self.sensor!r} is of kind "
                f"{sensors[self.sensor].kind!r}"
            )

    def clean(self, batch: AttackBatch) -> Tensor:
        """(N, 1) zeros."""
        return batch.inputs[self.sensor].new_zeros(len(batch), 1)

    def random(self, batch: AttackBatch, restart: int) -> Tensor:
        """(N, 1) ones."""
        return torch.ones_like(self.clean(batch))

    def step(
        self, variable: Tensor, gradient: Tensor, fraction: Tensor, batch: AttackBatch
    ) -> Tensor:
        """There is nothing to ascend."""
        return variable

    def project(self, variable: Tensor, batch: AttackBatch) -> Tensor:
        """To 0 or 1."""
        return (variable > 0.5).to(variable)

    def render(self, variable: Tensor, batch: AttackBatch) -> dict[str, Tensor]:
        """The failed sensor's input (N, C, H, W)."""
        images = [
            self._failed(batch, n) if fails > 0.5 else batch.inputs[self.sensor][n]
            for n, fails in enumerate(variable[:, 0].tolist())
        ]
        return {self.sensor: torch.stack(images)}

    @torch.no_grad()
    def _failed(self, batch: AttackBatch, frame: int) -> Tensor:
        """(C, H, W) padded input of one frame."""
        reading = self.reading(batch, frame)
        shape = batch.inputs[self.sensor].shape[-2:]
        view = View(reading.spec, torch.eye(3, 4), reading.size, (shape[0], shape[1]))
        if reading.spec.kind == "points":
            assert reading.projection is not None, "points come with a projection"
            view = replace(view, image_P_sensor=reading.projection)
            return view.pad(view.draw(reading.value))
        return view.pad(reading.value)

    @torch.no_grad()
    def reading(self, batch: AttackBatch, frame: int) -> Reading:
        """What the failed sensor delivers: raw values, and its (wrong) projection."""
        spec, sample = batch.sensors[self.sensor], batch.samples[frame]
        effect = FAILURES[self.kind][spec.kind]
        level = effect.levels[self.severity - 1]
        value = batch.raw[self.sensor][frame]
        if self.kind == STALE:
            value = self._older(batch, frame, int(level))
        known = sample.get("projections") or {}
        depth = [n for n, s in batch.sensors.items() if s.kind == "depth"]
        projection = known.get(self.sensor, next(iter(known.values()), None))
        clean = Reading(
            spec,
            value.float(),
            sample.img_shape[:2],
            self.generator(batch, frame, restart=0),
            None if projection is None else torch.as_tensor(projection),
            batch.raw[depth[0]][frame].float() if depth else None,
        )
        failed = effect.apply(clean, level)
        if spec.kind == "image":
            return replace(failed, value=failed.value.round().clamp(0, 255))
        return failed

    def _older(self, batch: AttackBatch, frame: int, age: int) -> Tensor:
        """The raw value of an earlier frame."""
        frames = len(set(batch.ids)) if self.replay is None else len(self.replay)
        if frames < 2:
            raise ValueError(
                f"threat {self.name!r}: a single frame has no earlier one; give "
                "replay, or more frames per batch"
            )
        # Never the frame itself, however old.
        back = 1 + (age - 1) % (frames - 1)
        if self.replay is None:
            older = batch.raw[self.sensor][(frame - back) % frames]
        else:
            number = (batch.ids[frame] - back) % frames
            older = self.replay[number]["inputs"][self.sensor]
        now = batch.raw[self.sensor][frame]
        if batch.sensors[self.sensor].kind != "points" and older.shape != now.shape:
            raise ValueError(
                f"threat {self.name!r}: the older frame is {tuple(older.shape)}, this "
                f"one {tuple(now.shape)}; stale frames must have the same size"
            )
        return older.to(now.device)


@ATTACKS.register_module()
class Failure(Attack):
    """Lets the sensor of a :class:`FailureThreat` fail in every frame.

    Raises:
        ValueError: If the threat is not a ``FailureThreat``.
    """

    def __init__(self, threat: ThreatModel) -> None:
        super().__init__(threat)
        if not isinstance(threat, FailureThreat):
            raise ValueError(f"threat {threat.name!r}: a failure needs a FailureThreat")

    def run(self, victim: Victim) -> Tensor:
        """All ones."""
        return self.threat.random(victim.batch, restart=0)
