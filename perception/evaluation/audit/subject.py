"""What an audit says and works on: checks, their report, a detector with its frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from perception.attacks.base import Attack, Perturbed
from perception.attacks.batch import AttackBatch
from perception.attacks.build import search_for
from perception.attacks.searches.black_box import RandomNoise
from perception.attacks.target import DoesNotApplyError, Target
from perception.attacks.threats.base import ThreatModel
from perception.attacks.threats.budgets import scaled
from perception.attacks.threats.maps import MapThreat
from perception.core.structures import SensorSpec

Score = Callable[[Sequence[Mapping[str, Tensor]]], float]


@dataclass(frozen=True)
class Check:
    """One thing that must hold.

    Attributes:
        name: What it is about, with the sensor's name.
        passed: Whether it holds.
        figures: The numbers it was judged by.
        explanation: What was asked, and what a failure means.
    """

    name: str
    passed: bool
    figures: Mapping[str, float]
    explanation: str

    def line(self) -> str:
        """PASS or FAIL, name and figures; a failure is explained in a second line."""
        figures = "  ".join(
            f"{name} {value:.4g}" for name, value in self.figures.items()
        )
        verdict = "PASS" if self.passed else "FAIL"
        line = f"{verdict}  {self.name:<44}  {figures}"
        return line if self.passed else f"{line}\n      {self.explanation}"


@dataclass(frozen=True)
class AuditReport:
    """All checks of one detector."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def failed(self) -> list[str]:
        """Names of the checks that did not pass."""
        return [check.name for check in self.checks if not check.passed]

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {"passed": self.passed, "checks": [asdict(c) for c in self.checks]}


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """How hard the audit tries and what it accepts.

    Attributes:
        search: Config of the gradient attack that is audited, without ``threat``.
        queries: Of the black-box attacks.
        directions: Random directions per frame for finite differences.
        probe: Length of their step as a fraction of the budget.
        gradient_share: Least share of values that a gradient must reach.
        gradient_error: Largest median relative error against finite differences.
        slack: Relative loss of gain that is put down to chance.
        more_loss: Relative gain of loss that twice the steps and restarts may
            bring, where no score is given.
        more_ap: AP that they may cost, where one is given.
        whole_range_ap: AP that must not be left when nothing is bounded.
        batching: Largest relative difference of the mean loss between batchings.
    """

    search: Mapping[str, Any] = field(default_factory=lambda: {"type": "PGD"})
    queries: int = 100
    directions: int = 4
    probe: float = 0.02
    gradient_share: float = 0.5
    gradient_error: float = 0.3
    slack: float = 0.05
    more_loss: float = 0.15
    more_ap: float = 1.0
    whole_range_ap: float = 2.0
    batching: float = 0.1


class Subject:
    """The detector under audit on its frames.

    Args:
        target: See :mod:`perception.attacks.target`.
        batches: The clean frames.
        score: AP in percent of the detector on attacked inputs, one mapping
            {sensor: (N, C, H, W)} per batch in their order; None where only the
            loss is known.
        source: Another detector, for transfer.
        settings: What is accepted.
    """

    def __init__(
        self,
        target: Target,
        batches: Sequence[AttackBatch],
        *,
        score: Score | None,
        source: Any,
        settings: AuditSettings,
    ) -> None:
        self.target, self.batches = target, list(batches)
        self.score, self.source, self.settings = score, source, settings

    def search(self, threat: ThreatModel) -> Attack:
        """The audited attack with this threat model."""
        return search_for(threat, self.settings.search)

    def attacked(self, attack: Attack) -> list[Perturbed]:
        """The attack's results on every batch."""
        return [attack(self.target, batch) for batch in self.batches]

    def loss(self, attack: Attack) -> float:
        """Mean detection loss over all frames under attack."""
        return mean_loss(self.attacked(attack))

    def clean(self, threat: MapThreat) -> float:
        """Mean detection loss over all frames as they are."""
        return self.loss(RandomNoise(replace(scaled(threat, 0.0), steps=1)))

    def at_least(self, larger: float, smaller: float) -> bool:
        """Whether one gain reaches another, chance apart."""
        return larger >= smaller - self.settings.slack * abs(smaller) - 1e-6

    def scored(self, results: Sequence[Perturbed]) -> float | None:
        """AP in percent of these results, None without a score."""
        return None if self.score is None else self.score([r.inputs for r in results])


def losses_of(result: Perturbed) -> Tensor:
    """(N,) detection losses."""
    if result.detection_loss is None:
        raise DoesNotApplyError("an audit compares losses; the target has none")
    return result.detection_loss


def mean_loss(results: Sequence[Perturbed]) -> float:
    """Mean detection loss over all frames of all batches."""
    return float(torch.cat([losses_of(result) for result in results]).mean())


def range_threats(
    sensors: Mapping[str, SensorSpec], share: float = 16 / 255, **fields: Any
) -> list[MapThreat]:
    """For each sensor every value within a share of its channel's physical range.

    Args:
        sensors: A detector's sensors.
        share: Budget as a share of the range; 1 leaves nothing out.
        **fields: Further fields of the threat models, e.g. ``steps``.
    """
    return [
        MapThreat(
            name=f"{name} {share:.3g} of its range",
            sensor=name,
            eps={c.name: share * (c.high - c.low) for c in spec.channels},
            **fields,
        )
        for name, spec in sensors.items()
    ]
