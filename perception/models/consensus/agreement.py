"""Leave out the sensor that two others contradict; keep to the median otherwise.

Shape letters: N frames, S sensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from mmdet.registry import MODELS
from torch import Tensor

from perception.models.consensus.base import Aggregator, Experts, LossWeights, Verdict
from perception.models.consensus.gate import DisagreementGate
from perception.models.consensus.intervals import (
    Margins,
    hull,
    near_median,
    unbounded_where,
)
from perception.models.heads.outputs import HeadOutputs


@MODELS.register_module()
class AgreementAggregator(Aggregator):
    """The expert of the sensors that agree, near the median of their predictions.

    To do harm a compromised sensor must make the detector predict something else than
    the others do, and what it predicts by itself shows that. So a gate compares the
    branch predictions (:class:`DisagreementGate`); where it attributes an alarm, the
    expert that never sees that sensor predicts, within the range of the others. For
    the certificate see :mod:`perception.models.consensus`.

    The gate needs no attack to be trained; in training every other frame goes through
    the expert without one sensor after the other. What it cannot see is an attack that
    moves the all-sensor expert within its margin and no branch prediction by much.
    Adversarial training is against those.

    Args:
        sensors: Names of S >= 3 sensors.
        gate: Config of the :class:`DisagreementGate`.
        margin: See :class:`MedianAggregator`, like all that follow.
        box_margin: The same for boxes.
        branch_loss_weight: Factor of the loss of each sensor's own detections.
        init_cfg: MMEngine initialisation config.
    """

    needs_experts = True

    def __init__(
        self,
        *,
        sensors: Sequence[str],
        gate: dict | None = None,
        margin: float = 0.0,
        box_margin: float = 0.0,
        branch_loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            sensors=sensors,
            margins=Margins(margin, box_margin),
            loss_weights=LossWeights(branch=branch_loss_weight),
            gate=gate or {},
            init_cfg=init_cfg,
        )

    def judge(
        self, branches: Sequence[HeadOutputs], leave_out: Tensor | None = None
    ) -> Verdict:
        """Whom two others contradict."""
        gate = cast(DisagreementGate, self.gate)
        seen = gate(branches)
        if leave_out is not None:
            return Verdict(leave_out, seen.logits, contradictions=seen.contradictions)
        attributed = (
            gate.taking_turns(seen.logits)
            if self.training
            else seen.logits.argmax(dim=1)
        )
        return Verdict(
            attributed, seen.logits, seen.alarm, contradictions=seen.contradictions
        )

    def combine(
        self,
        verdict: Verdict,
        branches: Sequence[HeadOutputs],
        experts: Experts | None,
    ) -> HeadOutputs:
        """The chosen expert near the median, without margin under an alarm."""
        assert experts is not None
        return near_median(
            branches,
            experts.leaving_out(verdict.attributed),
            margins=self.margins,
            freedom=self._freedom(verdict, branches[0][0][0]),
            left_out=verdict.attributed,
        )

    def bounds(
        self,
        branches: Sequence[HeadOutputs],
        experts: Experts | None,
        compromised: int,
    ) -> tuple[HeadOutputs, HeadOutputs]:
        """See :meth:`Aggregator.bounds`."""
        benign = [one for i, one in enumerate(branches) if i != compromised]
        may_be_attributed = cast(DisagreementGate, self.gate).others_contradict(
            branches, compromised
        )
        return unbounded_where(may_be_attributed, hull(benign, self.margins))
