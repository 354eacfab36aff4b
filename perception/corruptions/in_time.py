"""Failures in time: one sensor of a drive is late, jitters, repeats itself or drifts.

Unlike ``stale`` they need frames that follow each other (``FrameReader.previous``) and
never show another drive. From frame ``begin`` on the sensor shows an earlier reading of
its own; everything else of the frame is of now. Levels count frames, at 10 Hz tenths of
a second.

Compare the delays of Pu et al., "DejaVu: temporal misalignment attacks against
multimodal perception", whose attacker chooses them; here nobody does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.threats.budgets import generator
from perception.core.structures import SensorKind
from perception.corruptions import maps, points
from perception.corruptions.base import (
    CORRUPTIONS,
    Corruption,
    Effect,
    Levels,
    effects,
    unchanged,
)
from perception.datasets.timeline import drives_of

Draw = Callable[[int, int], int]
"""A whole number of 0 … n for a frame's place in the drive: the same at every call."""
Age = Callable[[int, int, float, Draw], int]
"""How many frames old is what the sensor shows, from how many frames it has failed for
(0 in the first one), its place in the drive, the level and random draws."""


def late(step: int, place: int, level: float, draw: Draw) -> int:
    """Always so many frames late."""
    return int(level)


def jitter(step: int, place: int, level: float, draw: Draw) -> int:
    """Each reading arrives up to so many frames late; the newest is shown."""
    most = int(level)
    return next(age for age in range(most + 1) if draw(place - age, most) <= age)


def replay(step: int, place: int, level: float, draw: Draw) -> int:
    """The last so many frames before the failure again and again."""
    length = int(level)
    return length * (1 + step // length)


def frozen(step: int, place: int, level: float, draw: Draw) -> int:
    """A new reading at every so many-th frame only; none at all at the severest."""
    return step + 1 if math.isinf(level) else (step + 1) % int(level)


def now_and_then(step: int, place: int, level: float, draw: Draw) -> int:
    """The reading before, in this share of the frames."""
    return int(draw(place, 9999) < 10_000 * level)


DELAYS: Mapping[str, tuple[Age, Levels]] = {
    "late": (late, (1, 2, 4, 8, 16)),
    "jitter": (jitter, (1, 2, 4, 8, 16)),
    "replay": (replay, (32, 16, 8, 4, 2)),
    "frozen": (frozen, (2, 4, 8, 16, math.inf)),
}
# Delays of published suites: KITTI-C's temporal misalignment, MultiCorrupt's, and
# sensors of nuScenes-R that are stuck in a share of the frames, one by one.
OF_SUITES: Mapping[str, tuple[Age, Levels]] = {
    "kitti_c_temporal": (late, (2, 4, 6, 8, 10)),
    "multicorrupt_temporalmisalignment": (now_and_then, (0.2, 0.4, 0.6)),
    "nuscenes_r_stuck": (now_and_then, (0.1, 0.3, 0.5, 0.7, 0.9)),
}
_DELAYS = {**DELAYS, **OF_SUITES}
DRIFT = "drift"
_DEG_PER_FRAME = (0.01, 0.02, 0.05, 0.1, 0.2)
_MOST_DEG = 8.0
_NOTICEABLE_DEG = 1.0  # a pixel of a small picture


@CORRUPTIONS.register_module()
@dataclass(frozen=True, kw_only=True)
class TimeFailure(Corruption):
    """One sensor fails in time.

    Attributes:
        kind: A key of ``DELAYS`` or ``OF_SUITES``, or ``drift``: the sensor turns
            slowly around a random axis, which its calibration does not know.
        begin: Number of the frame with which it begins to fail; before it nothing
            changes. In a drive that begins later, it fails from the start.
        replay: The data set whose frames are corrupted.
    """

    kinds: ClassVar[Mapping[str, Mapping[SensorKind, Effect]]] = {
        kind: effects(levels, unchanged, unchanged)
        for kind, (_, levels) in _DELAYS.items()
    } | {DRIFT: effects(_DEG_PER_FRAME, maps.misaligned_deg, points.misaligned_deg)}

    kind: str = "late"
    begin: int = 0

    def shown(self, number: int) -> int:
        """The frame whose reading the sensor shows at frame ``number``.

        Raises:
            ValueError: If the data set has no frames that follow each other.
        """
        drive, place, step = self._place(number)
        if step < 0 or self.kind == DRIFT:
            return number
        age, levels = _DELAYS[self.kind]
        back = age(step, place, levels[self.severity - 1], self._draw)
        return drive[max(place - back, 0)]

    def acts_on(self, number: int) -> bool:
        """Whether the frame must show it: older readings do, a turn in the end."""
        if self.kind == DRIFT:
            steps = self._place(number)[2] + 1
            return steps * _DEG_PER_FRAME[self.severity - 1] >= _NOTICEABLE_DEG
        return self.shown(number) != number

    def level(self, effect: Effect, number: int) -> float:
        """Of a drift the angle in degrees by then; a delay's level has acted before."""
        level = super().level(effect, number)
        steps = max(self._place(number)[2] + 1, 0)
        return min(level * steps, _MOST_DEG) if self.kind == DRIFT else level

    def drawn_as(self, number: int) -> int:
        """A drift goes one way: draws are those of the drive's first frame."""
        return self._place(number)[0][0]

    def delivered(self, batch: AttackBatch, frame: int, level: float) -> Tensor:
        """The reading that is shown."""
        number = batch.ids[frame]
        source = self.shown(number)
        if source == number:
            return batch.raw[self.sensor][frame]
        return self.of_frame(source, batch, frame)

    def _place(self, number: int) -> tuple[Sequence[int], int, int]:
        """A frame's drive, its place in it, and for how many frames it has failed."""
        if self.replay is None:
            raise ValueError(
                f"corruption {self.name!r}: failures in time need the data set (replay)"
            )
        drives = _drives(self.replay)
        if number not in drives:
            raise ValueError(
                f"corruption {self.name!r}: frame {number} is in no drive: failures "
                "in time need frames that follow each other, such as those of "
                "create_data.py bag or sequences, or nuScenes' (timeline.csv)"
            )
        drive = drives[number]
        place = drive.index(number)
        first = next(
            (n for n, one in enumerate(drive) if one >= self.begin), len(drive)
        )
        return drive, place, place - first

    def _draw(self, place: int, most: int) -> int:
        draws = generator(self.seed, max(place, 0), 0, self.sensor)
        return int(torch.randint(most + 1, (), generator=draws))


@lru_cache(maxsize=8)
def _drives(dataset: Any) -> dict[int, list[int]]:
    """For each frame of a data set that has a neighbour its drive."""
    found = drives_of(getattr(dataset, "frames", dataset))
    return {number: drive for drive in found if len(drive) > 1 for number in drive}
