"""Attackers who want one named object gone, or one thing seen that is not there.

What stands beside a certificate: the share of objects that an attack can hide, each
attacked by itself. An attacker of the whole frame spends part of the change on all
objects, and leaves more of each.

Shape letters: N frames, G objects of a frame, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from perception.attacks import Goal
from perception.attacks.batch import AttackBatch
from perception.attacks.searches.interval import IntervalPGD
from perception.attacks.target import Target
from perception.attacks.threats.maps import MapThreat
from perception.evaluation.audit.subject import range_threats

# Lower the object's scores, or also move its box: neither is always the stronger.
_HIDING = ("hide", "detection")
_IN_SPACE = ("displace",)  # and of boxes in metres: see it elsewhere


@dataclass(frozen=True)
class Attacked:
    """What one attack on one sensor made of a frame's copies.

    Attributes:
        frame: Number of the frame in its batch.
        sensor: The attacked sensor.
        alone: Whether it went for each object alone; or for a ghost.
        batch: G copies of the frame with one object each; or one with all of them.
        inputs: The attacked inputs of these.
    """

    frame: int
    sensor: str
    alone: bool
    batch: AttackBatch
    inputs: Mapping[str, Tensor]


@dataclass(frozen=True)
class Attackers:
    """How hard they try.

    Attributes:
        steps: Of every search; 0: there are none.
        share: Of each channel's range, how much they may change; 1 bounds nothing.
    """

    steps: int
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 0 or not 0 < self.share <= 1:
            raise ValueError(
                "attackers need 0 or more steps and a share of the range above 0 and "
                f"up to 1, got {self.steps} and {self.share}"
            )

    def on(
        self, target: Target, batch: AttackBatch, *, in_space: bool = False
    ) -> Iterator[Attacked]:
        """Every object of every frame, then a ghost in each, through every sensor.

        Args:
            target: The detector.
            batch: N clean frames.
            in_space: Objects have boxes in metres, which can be moved.
        """
        if not self.steps:
            return
        goals = (*_HIDING, *_IN_SPACE) if in_space else _HIDING
        for threat in range_threats(target.sensors, share=self.share, steps=self.steps):
            (sensor,) = threat.touched
            for n in range(len(batch)):
                alone = one_object_each(batch, n)
                for goal in goals if len(alone) else ():
                    found = _search(threat, goal)(target, alone)
                    yield Attacked(n, sensor, True, alone, found.inputs)
                whole = batch.select([n])
                found = _search(threat, "create")(target, whole)
                yield Attacked(n, sensor, False, whole, found.inputs)


def one_object_each(batch: AttackBatch, frame: int) -> AttackBatch:
    """A frame once for each of its G objects, with that one as all of its truth."""
    sample = batch.samples[frame]
    count = len(sample.gt_instances)
    copies = [sample.new() for _ in range(count)]
    for g, copy in enumerate(copies):
        copy.gt_instances = sample.gt_instances[g : g + 1]
    return replace(batch.select([frame] * count), samples=copies)


def _search(threat: MapThreat, goal: str) -> IntervalPGD:
    return IntervalPGD(replace(threat, goal=Goal.parse(goal)))
