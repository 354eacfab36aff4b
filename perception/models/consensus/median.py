"""The median of what each sensor predicts by itself: it cannot be led astray."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from torch import Tensor

from perception.models.consensus.base import Aggregator, LossWeights, Predictions
from perception.models.consensus.directions import circular_median, turned, turns
from perception.models.consensus.gate import Verdict
from perception.models.consensus.intervals import (
    DIRECTIONS,
    Bounds,
    Margins,
    hull,
    median_interval,
    moved_into,
    side_by_side,
)
from perception.models.heads.outputs import HeadOutputs


@MODELS.register_module()
class MedianAggregator(Aggregator):
    """Keep the fused prediction near the median of the branch predictions.

    Without a fusion the middle of the consensus interval is the prediction; with
    three sensors it is the median. With a gate, the expert that never sees the sensor
    that two others contradict predicts, within the range of the others. The gate needs
    no attack to be trained. What it cannot see is an attack that moves the all-sensor
    expert within its margin and no branch prediction by much: adversarial training is
    against those. For the certificate see :mod:`perception.models.consensus`.

    Args:
        sensors: Names of S >= 3 sensors.
        gate: Arguments of a :class:`DisagreementGate`; None leaves it to the fusion
            which of its experts predicts.
        margin: How far beyond the consensus interval the fused prediction may lie:
            class logits and other scores by this much.
        box_margin: The same for the numbers of a box, as a fraction of their size.
        branch_loss_weight: Factor of the loss of each sensor's own detections.
        init_cfg: MMEngine initialisation config.
    """

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
            gate=gate,
            init_cfg=init_cfg,
        )

    def combine(self, verdict: Verdict, said: Predictions) -> HeadOutputs:
        """The fused prediction near the median, of the others if one is left out."""
        fused, left_out = said.fused, verdict.attributed
        freedom = self._freedom(verdict, said.branches[0][0][0])
        if left_out is not None and not torch.jit.is_tracing():
            # A trace would keep this choice, which only saves time.
            left_out = None if (left_out == len(self.sensors)).all() else left_out

        def near(kind: int, level: Tensor, answer: Tensor | None) -> Tensor:
            origin = circular_median(level, left_out) if kind == DIRECTIONS else None
            if origin is not None:
                level = turns(origin, level)
                answer = None if answer is None else turns(origin, answer)
            limits = median_interval(level, left_out)
            moved = moved_into(*limits, answer, self.margins.of(kind), freedom)
            return moved if origin is None else turned(origin, moved)

        return tuple(
            [
                near(kind, level, None if fused is None else fused[kind][n])
                for n, level in enumerate(levels)
            ]
            for kind, levels in enumerate(side_by_side(said.branches))
        )

    def _limits(self, said: Predictions, compromised: int) -> Bounds:
        """The branch predictions alone limit it."""
        benign = [one for i, one in enumerate(said.branches) if i != compromised]
        return hull(benign, self.margins)
