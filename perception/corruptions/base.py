"""Corruptions: harm to a sensor without an attacker, with a severity from 1 to 5.

They happen to the raw data, pictures in 8-bit grey levels and points before they are
drawn, so that they are what the sensor would deliver. Built on the pattern of Hendrycks
and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations", ICLR 2019; every sensor has its own levels.

Shape letters: N frames, C channels, H, W image height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from mmengine.registry import Registry
from torch import Tensor

from perception.attacks.base import Perturbation, same
from perception.attacks.batch import AttackBatch
from perception.attacks.build import build_attack
from perception.attacks.registry import ATTACKS, class_of
from perception.attacks.threats.budgets import generator
from perception.attacks.victim import Victim
from perception.core.structures import SensorKind, SensorSpec
from perception.corruptions import maps, points
from perception.corruptions.maps import Reading
from perception.models.rasterize import draw_points, padded

CORRUPTIONS = Registry("corruption")
STALE = "stale"
_DRAWS = 8  # of the strongest severity, before a frame's corruption has no effect


Apply = Callable[[Reading, float], Reading]
Levels = tuple[float, ...]


class NoEffectError(ValueError):
    """A corruption leaves a sensor that delivered something as it was."""


@dataclass(frozen=True)
class Effect:
    """What a kind of corruption does to one kind of sensor.

    Attributes:
        apply: From a reading and a level to the corrupted reading.
        levels: The level of each severity from 1: five, or as a published suite has.
    """

    apply: Apply
    levels: Levels


def unchanged(reading: Reading, _: float) -> Reading:
    """What is wrong with it has come about before."""
    return reading


def effects(
    levels: Levels, map_effect: Apply, point_effect: Apply
) -> dict[SensorKind, Effect]:
    """The same levels for all sensors."""
    of_map = Effect(map_effect, levels)
    return {"image": of_map, "depth": of_map, "points": Effect(point_effect, levels)}


_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
_VIEW_SHARES = (0.1, 0.2, 0.35, 0.5, 0.75)
_RAIN_SHARES = (0.05, 0.1, 0.2, 0.3, 0.45)
_VISIBILITIES_M = (200.0, 120.0, 70.0, 40.0, 20.0)
_ANGLES_DEG = (0.25, 0.5, 1.0, 2.0, 4.0)
_TRAVELLED_M = (0.5, 1.0, 2.0, 4.0, 8.0)  # 10 m/s for 0.05 … 0.8 s
_AGES = (1.0, 2.0, 4.0, 8.0, 16.0)

KINDS: Mapping[str, Mapping[SensorKind, Effect]] = {
    "blackout": effects(_SHARES, maps.blackout_share, points.blackout_share),
    # The older reading is fetched by the corruption itself; the level is its age.
    STALE: effects(_AGES, unchanged, unchanged),
    "noise": {
        "image": Effect(maps.noise_grey, (8.0, 16.0, 32.0, 48.0, 72.0)),
        "depth": Effect(maps.noise_per_m, (0.0005, 0.001, 0.002, 0.004, 0.008)),
        "points": Effect(points.noise_m, (0.03, 0.08, 0.2, 0.5, 1.0)),
    },
    "beam_loss": {
        "points": Effect(points.beam_loss_share, (0.1, 0.25, 0.5, 0.75, 0.9))
    },
    "view_loss": effects(_VIEW_SHARES, maps.view_loss_share, points.view_loss_share),
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
    "miscalibration": effects(_ANGLES_DEG, maps.misaligned_deg, points.misaligned_deg),
    "time_offset": effects(_TRAVELLED_M, maps.late_m, points.late_m),
}


def applicable(kind: str, spec: SensorSpec) -> bool:
    """Whether a sensor can be corrupted in this way."""
    return spec.kind in KINDS.get(kind, {})


@CORRUPTIONS.register_module()
@dataclass(frozen=True, kw_only=True)
class Corruption(Perturbation):
    """One sensor fails; nobody chooses how.

    Called, it proves that its sensor's input changed in every frame, besides that no
    other one did. A mild severity may hit nothing, such as a blackout of empty sky or
    light fog in a short street: then the severest must change the frame. Frames in
    which the sensor delivers nothing cannot change.

    Attributes:
        name: Its name everywhere.
        sensor: The sensor that fails.
        kind: A key of ``KINDS``.
        severity: 1 (hardly noticeable) to 5 (useless, or nearly so).
        seed: Seed of every random draw.
        replay: For ``stale``: packed frames as a data set yields them, in the order of
            time; frame number ``id`` shows the one ``age`` frames earlier. Without it
            the frames of the batch serve, and results depend on the batching. Where
            neighbours are other scenes (synthetic frames, KITTI's object benchmark)
            it is a replay of another scene, and its severity says little.
    """

    kinds: ClassVar[Mapping[str, Mapping[SensorKind, Effect]]] = KINDS

    name: str
    sensor: str
    kind: str = "blackout"
    severity: int = 3
    seed: int = 0
    replay: Sequence[Mapping[str, Any]] | None = field(
        default=None, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.kind not in self.kinds:
            raise ValueError(
                f"corruption {self.name!r}: unknown kind {self.kind!r}; known: "
                f"{', '.join(self.kinds)}"
            )
        if self.severity not in range(1, self.most_severe + 1):
            raise ValueError(
                f"corruption {self.name!r}: severity must be 1 … {self.most_severe}, "
                f"got {self.severity}"
            )

    @property
    def most_severe(self) -> int:
        """The greatest severity of its kind."""
        return len(next(iter(self.kinds[self.kind].values())).levels)

    @property
    def touched(self) -> tuple[str, ...]:
        """The sensor that fails."""
        return (self.sensor,)

    def check(self, sensors: Mapping[str, SensorSpec]) -> None:
        """Raise ValueError if there is no such sensor, or it cannot fail so."""
        if self.sensor not in sensors:
            raise ValueError(
                f"corruption {self.name!r} is of {self.sensor!r}, but the detector has "
                f"only {list(sensors)}"
            )
        if sensors[self.sensor].kind not in self.kinds[self.kind]:
            raise ValueError(
                f"corruption {self.name!r}: {self.kind} happens to sensors of kind "
                f"{list(self.kinds[self.kind])}, and {self.sensor!r} is of kind "
                f"{sensors[self.sensor].kind!r}"
            )

    def find(self, victim: Victim) -> tuple[None, dict[str, Tensor]]:
        """The failed sensor's inputs; nobody chose anything."""
        return None, {self.sensor: self.render(victim.batch)}

    def corrupted(
        self, sensors: Mapping[str, SensorSpec], batch: AttackBatch
    ) -> dict[str, Tensor]:
        """The inputs of all sensors, this one failed; unlike a call without labels.

        Raises:
            ValueError: If there is no such sensor, or nothing would change.
        """
        self.check(sensors)
        changed = {self.sensor: self.render(batch)}
        self.prove(batch, changed)
        return {**batch.inputs, **changed}

    def render(self, batch: AttackBatch) -> Tensor:
        """The failed sensor's model input (N, C, H, W)."""
        return torch.stack([self._drawn(batch, n) for n in range(len(batch))])

    def prove(self, batch: AttackBatch, changed: Mapping[str, Tensor]) -> None:
        """Raise NoEffectError if a frame that had data is as it was."""
        for n, clean in enumerate(batch.inputs[self.sensor]):
            if not self.acts_on(batch.ids[n]):
                continue
            if same(changed[self.sensor][n], clean) and clean.any():
                severest = replace(self, severity=self.most_severe)
                tries = (severest._drawn(batch, n, draw) for draw in range(_DRAWS))
                if all(same(one, clean) for one in tries):
                    frame = batch.samples[n].get("frame_id", batch.ids[n])
                    raise NoEffectError(
                        f"corruption {self.name!r}: {self.kind} of severity "
                        f"{self.severity} changes nothing of {self.sensor!r} in frame "
                        f"{frame}"
                    )

    def acts_on(self, number: int) -> bool:
        """Whether the sensor fails in the frame of this number."""
        return True

    @torch.no_grad()
    def _drawn(self, batch: AttackBatch, frame: int, draw: int = 0) -> Tensor:
        """(C, H, W) padded model input of one frame's reading."""
        reading = self.reading(batch, frame, draw)
        image = reading.value
        if reading.spec.kind == "points":
            assert reading.projection is not None, "points come with a projection"
            if reading.spec.is_table:  # it shows what is wrong by itself
                right = torch.as_tensor(batch.samples[frame].projections[self.sensor])
                image = seen_through(image, reading.projection, right)
            image = draw_points(image, reading.spec, reading.projection, reading.size)
        height, width = batch.inputs[self.sensor].shape[-2:]
        return padded(image, (height, width))

    @torch.no_grad()
    def reading(self, batch: AttackBatch, frame: int, draw: int = 0) -> Reading:
        """What the failed sensor delivers: raw values, and its (wrong) projection."""
        spec, sample = batch.sensors[self.sensor], batch.samples[frame]
        effect = self.kinds[self.kind][spec.kind]
        level = self.level(effect, batch.ids[frame])
        value = self.delivered(batch, frame, level)
        known = sample.get("projections") or {}
        depth = [n for n, s in batch.sensors.items() if s.kind == "depth"]
        projection = known.get(self.sensor, next(iter(known.values()), None))
        clean = Reading(
            spec,
            value.float(),
            sample.img_shape[:2],
            generator(self.seed, self.drawn_as(batch.ids[frame]), draw, self.sensor),
            None if projection is None else torch.as_tensor(projection),
            batch.raw[depth[0]][frame].float() if depth else None,
        )
        failed = effect.apply(clean, level)
        if spec.kind == "image":
            return replace(failed, value=failed.value.round().clamp(0, 255))
        return failed

    def level(self, effect: Effect, number: int) -> float:
        """How far the failure goes in the frame of this number."""
        return effect.levels[self.severity - 1]

    def drawn_as(self, number: int) -> int:
        """The number that seeds the draws of a frame: its own."""
        return number

    def delivered(self, batch: AttackBatch, frame: int, level: float) -> Tensor:
        """The raw value that the effect is applied to."""
        if self.kind == STALE:
            return self._older(batch, frame, int(level))
        return batch.raw[self.sensor][frame]

    def clouds(self, batch: AttackBatch) -> list[Tensor] | None:
        """The N failed point clouds (P', 3 + F), as they would be recorded.

        None for sensors without points, and where what is wrong is where the points are
        projected to, which only the map shows.
        """
        if batch.sensors[self.sensor].kind != "points":
            return None
        readings = [self.reading(batch, n) for n in range(len(batch))]
        for reading, sample in zip(readings, batch.samples, strict=True):
            right = torch.as_tensor(sample.projections[self.sensor])
            if reading.projection is None or not torch.equal(reading.projection, right):
                return None
        return [reading.value for reading in readings]

    def _older(self, batch: AttackBatch, frame: int, age: int) -> Tensor:
        """The raw value of an earlier frame."""
        frames = len(set(batch.ids)) if self.replay is None else len(self.replay)
        if frames < 2:
            raise ValueError(
                f"corruption {self.name!r}: a single frame has no earlier one; give "
                "replay, or more frames per batch"
            )
        # Never the frame itself, however old.
        back = 1 + (age - 1) % (frames - 1)
        if self.replay is None:
            older = batch.raw[self.sensor][(frame - back) % frames]
        else:
            return self.of_frame((batch.ids[frame] - back) % frames, batch, frame)
        return self._of_one_size(older, batch, frame)

    def of_frame(self, number: int, batch: AttackBatch, frame: int) -> Tensor:
        """The raw value of frame ``number`` of ``replay`` for a frame of a batch."""
        assert self.replay is not None
        inputs = self.replay[number]["inputs"]
        if inputs.get(self.sensor) is None:
            raise ValueError(
                f"corruption {self.name!r}: frame {number} has no {self.sensor} data"
            )
        return self._of_one_size(inputs[self.sensor], batch, frame)

    def _of_one_size(self, older: Tensor, batch: AttackBatch, frame: int) -> Tensor:
        now = batch.raw[self.sensor][frame]
        if batch.sensors[self.sensor].kind != "points" and older.shape != now.shape:
            raise ValueError(
                f"corruption {self.name!r}: the older frame is {tuple(older.shape)}, "
                f"this one {tuple(now.shape)}; stale frames must have the same size"
            )
        return older.to(now.device)


def seen_through(points: Tensor, wrong: Tensor, right: Tensor) -> Tensor:
    """Points (P, 3 + F) where they would have to be to look right as they look wrong.

    Args:
        points: Seen through a wrong projection.
        wrong: (3, 4) that projection.
        right: (3, 4) the one that is taken for right.
    """
    if torch.equal(wrong, right):
        return points
    xyz, wrong, right = points[:, :3].double(), wrong.double(), right.double()
    seen = xyz @ wrong[:, :3].T + wrong[:, 3] - right[:, 3]
    moved = torch.linalg.solve(right[:, :3], seen.T).T
    return torch.cat([moved.to(points), points[:, 3:]], dim=1)


def build_perturbation(
    name: str, config: Mapping[str, Any], **changes: Any
) -> Perturbation:
    """An attack or a corruption from an entry of ``configs/_base_/attacks``.

    Args:
        name: Its name.
        config: ``{type: "Corruption", sensor, kind, severity}``, or an attack as
            :func:`~perception.attacks.build.build_attack` takes it.
        **changes: Fields of the threat model or corruption that replace the config's.

    Raises:
        ValueError: If the type or a field is unknown or impossible; names the entry.
    """
    if config.get("type") in ATTACKS.module_dict or "threat" in config:
        return build_attack(name, config, **changes)
    fields = dict(config) | changes
    kind = class_of(fields.pop("type", None), CORRUPTIONS, f"corruption {name!r}")
    try:
        built: Perturbation = kind(name=name, **fields)
    except TypeError as error:
        raise ValueError(f"corruption {name!r}: {error}") from error
    return built
