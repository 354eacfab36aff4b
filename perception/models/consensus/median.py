"""The median of what each sensor predicts by itself: it cannot be led astray.

Shape letters: N frames, S sensors.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.registry import MODELS
from torch import Tensor

from perception.models.consensus.base import Aggregator, Experts, LossWeights, Verdict
from perception.models.consensus.intervals import Margins, hull, near_median
from perception.models.heads.outputs import HeadOutputs


@MODELS.register_module()
class MedianAggregator(Aggregator):
    """Keep the fused prediction near the median of the branch predictions.

    Without a fusion the middle of the consensus interval is the prediction; with
    three sensors it is the median. For the certificate see
    :mod:`perception.models.consensus`.

    Args:
        sensors: Names of S >= 3 sensors.
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
        margin: float = 0.0,
        box_margin: float = 0.0,
        branch_loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            sensors=sensors,
            margins=Margins(margin, box_margin),
            loss_weights=LossWeights(branch=branch_loss_weight),
            gate=None,
            init_cfg=init_cfg,
        )

    def judge(
        self, branches: Sequence[HeadOutputs], leave_out: Tensor | None = None
    ) -> Verdict:
        """Nobody is left out, unless it was told."""
        return Verdict(leave_out)

    def combine(
        self,
        verdict: Verdict,
        branches: Sequence[HeadOutputs],
        experts: Experts | None,
    ) -> HeadOutputs:
        """The fused prediction near the median, of the others if one is left out."""
        left_out = verdict.attributed
        fused = None if experts is None else experts.leaving_out(left_out)
        return near_median(
            branches, fused, margins=self.margins, freedom=1.0, left_out=left_out
        )

    def bounds(
        self,
        branches: Sequence[HeadOutputs],
        experts: Experts | None,
        compromised: int,
    ) -> tuple[HeadOutputs, HeadOutputs]:
        """See :meth:`Aggregator.bounds`; the branch predictions alone limit it."""
        benign = [one for i, one in enumerate(branches) if i != compromised]
        return hull(benign, None if experts is None else self.margins)
