"""Keep to what is safe to say whoever is compromised, experts included.

Shape letters: N frames, S sensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from mmdet.registry import MODELS
from torch import Tensor

from perception.models.consensus.base import Aggregator, LossWeights, Predictions
from perception.models.consensus.directions import circular_median, turned, turns
from perception.models.consensus.gate import Verdict
from perception.models.consensus.intervals import (
    BOXES,
    CLASSES,
    DIRECTIONS,
    Bounds,
    Margins,
    as_levels,
    consensus_interval,
    hull,
    in_one_row,
    moved_into,
    side_by_side,
)
from perception.models.heads.outputs import HeadOutputs


@MODELS.register_module()
class ConsensusAggregator(Aggregator):
    """Keep to what the branch predictions and the leave-one-out experts agree on.

    The answer of the expert that sees all is moved into the consensus interval, see
    :mod:`perception.models.consensus`. Where the gate attributes an alarm, the expert
    without that sensor is the answer; where two contradict each other by more than
    its ``attribution_threshold``, the interval shrinks to what is safe whichever of
    the two is compromised; under an alarm there is no margin.

    **Training for the worst case** needs no attack: :meth:`bounds` says in closed form
    how far one sensor can move each output, so that ``worst_loss_weight`` adds the
    detection loss of the worst outputs within them, for every sensor in turn (compare
    interval bound propagation, Gowal et al., ICCV 2019; here the bounds are tight). In
    training there is neither slack nor contraction: branches trained with it need it.

    Args:
        sensors: Names of S >= 3 sensors.
        gate: Config of the :class:`DisagreementGate`.
        margin: How far beyond the consensus interval logits may lie.
        box_margin: The same for boxes, as a fraction of their size.
        logit_slack: How far an expert may raise a class logit above the least of its
            witnesses; 0: not. What attackers can hide falls with it, and what they can
            make up grows.
        box_contraction: How far an expert may move both ends of the interval of boxes,
            as a fraction of them; 0: not.
        branch_loss_weight: Factor of the loss of each sensor's own detections.
        expert_loss_weight: Factor of the loss of the experts' detections.
        worst_loss_weight: Factor of the loss in the worst case.
        init_cfg: MMEngine initialisation config.
    """

    asks_all_experts = True

    def __init__(
        self,
        *,
        sensors: Sequence[str],
        gate: dict | None = None,
        margin: float = 0.0,
        box_margin: float = 0.0,
        logit_slack: float = 1.0,
        box_contraction: float = 0.15,
        branch_loss_weight: float = 1.0,
        expert_loss_weight: float = 1.0,
        worst_loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            sensors=sensors,
            margins=Margins(margin, box_margin),
            loss_weights=LossWeights(
                branch=branch_loss_weight,
                expert=expert_loss_weight,
                worst=worst_loss_weight,
            ),
            gate=gate or {},
            init_cfg=init_cfg,
        )
        if not 0 <= logit_slack < float("inf"):
            raise ValueError(
                f"logit_slack must be finite and not negative, got {logit_slack}"
            )
        if not 0 <= box_contraction <= 1:
            raise ValueError(
                f"box_contraction must be within 0 and 1, got {box_contraction}"
            )
        self.logit_slack, self.box_contraction = logit_slack, box_contraction

    def combine(self, verdict: Verdict, said: Predictions) -> HeadOutputs:
        """The expert of all within the consensus interval, or the one attributed."""
        left_out = cast(Tensor, verdict.attributed)
        frames = torch.arange(left_out.shape[0], device=left_out.device)
        told = (left_out < len(self.sensors))[:, None, None, None]
        freedom = self._freedom(verdict, said.branches[0][0][0])
        slack, contraction = (
            (0.0, 0.0) if self.training else (self.logit_slack, self.box_contraction)
        )
        branches, experts = side_by_side(said.branches), side_by_side(said.experts)
        combined = []
        # All levels in one row: a GPU takes as long for a short one.
        for kind, (alone, asked) in enumerate(zip(branches, experts, strict=True)):
            branches_row, experts_row = in_one_row(alone), in_one_row(asked)
            origin = circular_median(branches_row) if kind == DIRECTIONS else None
            if origin is not None:
                branches_row = turns(origin, branches_row)
                experts_row = turns(origin, experts_row)
            answer = experts_row[left_out, frames]
            low, high = consensus_interval(
                branches_row,
                experts_row[:-1],
                verdict.suspects,
                slack=slack if kind == CLASSES else 0.0,
                contraction=contraction if kind == BOXES else 0.0,
            )
            moved = moved_into(low, high, answer, self.margins.of(kind), freedom)
            result = torch.where(told, answer, moved)
            if origin is not None:
                result = turned(origin, result)
            combined.append(as_levels(result, alone))
        return tuple(combined)

    def _limits(self, said: Predictions, compromised: int) -> Bounds:
        """Benign branch predictions and the expert without the sensor limit it."""
        benign = [one for i, one in enumerate(said.branches) if i != compromised]
        expert = said.experts[compromised]
        low, high = hull([*benign, expert], self.margins)
        if self.training or not self.logit_slack:
            return low, high
        margin, slack = self.margins.scores, self.logit_slack
        raised, limits = [], []
        for n, alone in enumerate(side_by_side(benign)[CLASSES]):
            least = low[CLASSES][n] + slack
            raised.append(torch.minimum(least, expert[CLASSES][n] - margin))
            # A lie counts beside one branch less; the least of the others limits it.
            limit = alone.sort(dim=0).values[1] + slack + margin
            limits.append(torch.maximum(high[CLASSES][n], limit))
        return (raised, *low[1:]), (limits, *high[1:])
