"""What every aggregator is: the predictions of sensors and experts to one.

Shape letters: N frames, S sensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mmengine.model import BaseModule
from torch import Tensor

from perception.models.consensus.gate import DisagreementGate, Verdict
from perception.models.consensus.intervals import Bounds, Margins, unbounded_where
from perception.models.heads.outputs import HeadOutputs


class Predictions(Protocol):
    """What an aggregator chooses from; what is fused is computed when it is asked."""

    @property
    def branches(self) -> Sequence[HeadOutputs]:
        """What each of the S sensors predicts by itself."""

    @property
    def experts(self) -> Sequence[HeadOutputs]:
        """What the S leave-one-out experts predict, and the one of all sensors."""

    @property
    def fused(self) -> HeadOutputs | None:
        """What is predicted without the sensors left out; None if nothing is fused."""


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Factors of the detection losses of what an aggregator chooses from.

    Attributes:
        branch: Of the mean loss of the branch predictions.
        expert: Of the mean loss of the experts.
        worst: Of the loss in the worst case within the bounds, the mean over which
            sensor is compromised.
    """

    branch: float
    expert: float = 0.0
    worst: float = 0.0


class Aggregator(BaseModule, ABC):
    """Base class of the aggregators; they differ in :meth:`combine` and its limits.

    Args:
        sensors: Names of S >= 3 sensors; between two there is no majority.
        margins: How far beyond the consensus interval a prediction may lie.
        loss_weights: Of the detection losses.
        gate: Arguments of a :class:`DisagreementGate` but for the sensors; None for
            none.
        init_cfg: MMEngine initialisation config.

    Attributes:
        asks_all_experts: Whether it combines all experts, or only the fused prediction.
    """

    asks_all_experts = False

    def __init__(
        self,
        *,
        sensors: Sequence[str],
        margins: Margins,
        loss_weights: LossWeights,
        gate: dict | None,
        init_cfg: dict | None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if len(sensors) < 3:
            raise ValueError(
                f"a median needs at least three sensors, got {list(sensors)}"
            )
        self.sensors = tuple(sensors)
        self.margins, self.loss_weights = margins, loss_weights
        self.gate = None if gate is None else DisagreementGate(sensors=sensors, **gate)

    def judge(
        self, branches: Sequence[HeadOutputs], leave_out: Tensor | None = None
    ) -> Verdict:
        """Whom to believe, from what each of S sensors predicts by itself.

        In training all experts learn by themselves, the answer being that of all; or
        they take turns.

        Args:
            branches: Their predictions.
            leave_out: (N,) the sensor known to be compromised, S for none; None leaves
                that to the gate.
        """
        if self.gate is None:
            return Verdict(leave_out)
        return self.gate(branches, leave_out, take_turns=not self.asks_all_experts)

    @abstractmethod
    def combine(self, verdict: Verdict, said: Predictions) -> HeadOutputs:
        """The prediction, from what :meth:`judge` said and what it may choose from."""

    def bounds(self, said: Predictions, compromised: int) -> Bounds:
        """Between what the outputs lie, whatever one sensor says: low and high.

        For boxes they hold for a margin of at most 1. Infinite where two benign sensors
        contradict each other by ``attribution_threshold`` or more: with one more
        witness, and the compromised sensor may be that, one of them is left out or the
        compromised one is cleared.

        Args:
            said: What is predicted from clean inputs.
            compromised: Number of the sensor that may say anything at all.
        """
        limits = self._limits(said, compromised)
        if self.gate is None or (self.asks_all_experts and self.training):
            return limits  # nobody is left out or cleared
        return unbounded_where(
            self.gate.others_contradict(said.branches, compromised), limits
        )

    @abstractmethod
    def _limits(self, said: Predictions, compromised: int) -> Bounds:
        """As :meth:`bounds`, while the gate is right."""

    def _freedom(self, verdict: Verdict, like: Tensor) -> Tensor | float:
        """(N, 1, 1, 1): 1 where predictions may use the margins, 0 under an alarm.

        In training they always may, so that what is clamped learns from it.
        """
        if verdict.alarm is None or verdict.attributed is None or self.training:
            return 1.0
        free = (verdict.alarm <= 0) | (verdict.attributed < len(self.sensors))
        return free[:, None, None, None].to(like)
