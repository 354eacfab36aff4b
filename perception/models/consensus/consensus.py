"""Fusion that keeps to what is safe to say whoever lies, experts included.

Shape letters: N frames, S sensors, P pairs of them, K numbers of one kind, H_l, W_l
size of pyramid level l.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from mmdet.registry import MODELS
from torch import Tensor

from perception.models.consensus.agreement import AgreementFusion
from perception.models.consensus.gate import contradictions
from perception.models.consensus.intervals import (
    as_levels,
    in_one_row,
    safe_range,
    side_by_side,
)
from perception.models.consensus.median import BOXES, CLASSES
from perception.models.fusion.base import FusionOutput
from perception.models.fusion.odd_one_out import OddOneOutFusion
from perception.models.heads.outputs import HeadOutputs, Pyramid


@MODELS.register_module()
class ConsensusFusion(AgreementFusion):
    """Keep to what the sensors and the leave-one-out experts can agree on.

    The gate is that of :class:`AgreementFusion`; what is done with a frame differs. The
    head looks at each sensor's view v_j and at all leave-one-out experts: e_i never
    sees sensor i. If i lies, everything else that is honest is at hand: v_j for all
    j != i, and e_i, which is nearly as good as all sensors together. An answer between
    the smallest and the largest of these is safe if i lies. The *trusted range* holds
    what is safe whoever lies:

        low = max_i min(v_j for j != i, e_i),  high = min_i max(v_j for j != i, e_i).

    It is never empty: of the views, leaving out any one, some are at most the second
    smallest and some at least that. It holds the median of :class:`MedianFusion`, and
    more where experts agree on more. The answer of the expert that sees all is moved
    into that range, widened by ``margin``.

    So an object that one of the two honest sensors misses can be hidden: the least of
    what is honest counts. Hiding objects is easy, since weak sensors miss many, and
    making them up is hard. ``lift`` shifts that balance: for class logits, e_i may
    raise the low end above the least of its witnesses, min(v_j for j != i, e_i), by so
    much, never above its own word; the high end is at least the low one. Then

        low = max_i min(e_i, lift + min(v_j for j != i, e_i)).

    Centre-ness is not lifted: that helps no object, and ghosts. For boxes, ``box_pull``
    lets e_i move both ends towards its own word, within the range above: no bound below
    changes by it.

    What is done with a frame depends on the contradictions:

    * if two sensors contradict each other by more than ``blame_at``, one of these two
      *suspects* lies. The others are cleared, and the range shrinks to what lies, for
      both suspects i, between the views of those cleared and e_i;
    * if two others contradict sensor i by ``blame_at`` or more it is blamed, and e_i is
      the answer;
    * if any two contradict each other by more than ``doubt_at``, there is no margin.

    **Certificate.** Let sensor i lie, and let the honest sensors contradict each other
    by less than ``blame_at``. Then i is never cleared, nobody else is blamed, and
    every output lies within [min(v_j for j != i, e_i) - margin, max(...) + margin],
    none of which sensor i has touched. With ``lift``, class logits are at least
    min(e_i, lift + min(...)) - margin, which is more, and at most the larger of
    max(...) and lift + the second smallest honest view, + margin: a lie in the words of
    e_j raises the low end to no more than lift above the least honest view but v_j, and
    that is at most the second smallest.

    **Training for the worst case** needs no attack: :meth:`bounds` says in closed form
    how far one sensor can move each output, so that ``worst_loss_weight`` adds the
    detection loss of the worst outputs within them, for every liar in turn (compare
    interval bound propagation, Gowal et al., ICCV 2019; here the bounds are tight). In
    training nothing is lifted or pulled: views that are trained with it need it.

    Args:
        sensors: Names of S >= 3 sensors.
        in_channels: Channels of each sensor's pyramid.
        num_levels: Number of pyramid levels.
        out_channels: Channels of the views and of the fused pyramid.
        blame_at: See :class:`AgreementFusion`, like all that is not explained here.
        doubt_at: Contradiction from which there is no margin.
        momentum: Least weight of a training step's honest frames.
        loss_weight: Factor of the odd-one-out loss and of the cross-entropy of doubt.
        margin: How far beyond the trusted range logits may lie.
        box_margin: The same for boxes, as a fraction of their size.
        lift: How far an expert may raise a class logit above the least of its
            witnesses; 0: not. What attackers can hide falls with it, and what they can
            make up grows.
        box_pull: How far an expert may move both ends of the range of boxes, as a
            fraction of them; 0: not.
        view_loss_weight: Factor of the loss of each sensor's own detections.
        expert_loss_weight: Factor of the loss of the experts' detections.
        worst_loss_weight: Factor of the loss in the worst case.
        init_cfg: MMEngine initialisation config.
    """

    def __init__(
        self,
        *,
        sensors: Sequence[str],
        in_channels: int,
        num_levels: int,
        out_channels: int,
        blame_at: float = 2.5,
        doubt_at: float = 2.5,
        momentum: float = 0.02,
        loss_weight: float = 0.0,
        margin: float = 0.0,
        box_margin: float = 0.0,
        lift: float = 1.0,
        box_pull: float = 0.15,
        view_loss_weight: float = 1.0,
        expert_loss_weight: float = 1.0,
        worst_loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            sensors=sensors,
            in_channels=in_channels,
            num_levels=num_levels,
            out_channels=out_channels,
            blame_at=blame_at,
            doubt_at=doubt_at,
            momentum=momentum,
            loss_weight=loss_weight,
            margin=margin,
            box_margin=box_margin,
            view_loss_weight=view_loss_weight,
            init_cfg=init_cfg,
        )
        if not 0 <= lift < float("inf"):
            raise ValueError(f"lift must be finite and not negative, got {lift}")
        if not 0 <= box_pull <= 1:
            raise ValueError(f"box_pull must be within 0 and 1, got {box_pull}")
        self.lift, self.box_pull = lift, box_pull
        self.expert_loss_weight = expert_loss_weight
        self.worst_loss_weight = worst_loss_weight

    def alternatives(
        self, pyramids: Mapping[str, Sequence[Tensor]]
    ) -> tuple[Pyramid, ...]:
        """What each leave-one-out expert makes of the features, and the one of all."""
        levels = self._by_level(pyramids)
        layer = cast(OddOneOutFusion, self.fused)
        return tuple(layer.expert(levels, i) for i in range(len(self.sensors) + 1))

    def fuse(
        self,
        levels: Sequence[Sequence[Tensor]],
        views: Sequence[HeadOutputs] = (),
        experts: Sequence[HeadOutputs] = (),
    ) -> FusionOutput:
        """Who lies, as far as the views tell; the head has seen all there is."""
        apart = self._apart(contradictions(views))
        logits = self._witnesses(apart)
        if self._forced is not None:
            blamed = self._for_every_frame(levels, self._forced)
            return FusionOutput((), logits, tuple(views), blamed, None, tuple(experts))
        blamed = logits.argmax(dim=1)
        if self.training:  # every expert learns by itself; the answer is that of all
            blamed = self._for_every_frame(levels, len(self.sensors))
        doubt = apart.amax(dim=1) - self.doubt_at
        suspects = None if self.training else self._suspects(apart)
        return FusionOutput(
            (), logits, tuple(views), blamed, doubt, tuple(experts), suspects
        )

    def combine(self, fused: HeadOutputs | None, output: FusionOutput) -> HeadOutputs:
        """The expert of those not blamed, within the trusted range."""
        views, experts = side_by_side(output.views), side_by_side(output.experts)
        blamed = cast(Tensor, output.blamed)
        frames = torch.arange(blamed.shape[0], device=blamed.device)
        told = (blamed < len(self.sensors))[:, None, None, None]
        freedom = self._freedom(output)
        lift, pull = (0.0, 0.0) if self.training else (self.lift, self.box_pull)
        combined = []
        # All levels in one row: a GPU takes as long for a short one.
        for kind, (said, asked) in enumerate(zip(views, experts, strict=True)):
            views_row, experts_row = in_one_row(said), in_one_row(asked)
            answer = experts_row[blamed, frames]
            low, high = safe_range(
                views_row,
                experts_row[:-1],
                output.suspects,
                lift=lift if kind == CLASSES else 0.0,
                pull=pull if kind == BOXES else 0.0,
            )
            moved = self._move(kind, answer, low, high, freedom)
            combined.append(as_levels(torch.where(told, answer, moved), said))
        return tuple(combined)

    def bounds(
        self, output: FusionOutput, liar: int
    ) -> tuple[HeadOutputs, HeadOutputs]:
        """Between what the outputs lie, whatever sensor ``liar`` says: low and high.

        Infinite where two honest sensors contradict each other by ``blame_at`` or
        more: the liar may be cleared there, or one of them blamed. For boxes they hold
        for a ``box_margin`` of at most 1, see :class:`MedianFusion`.
        """
        honest = [view for i, view in enumerate(output.views) if i != liar]
        low, high = self._range_of([*honest, output.experts[liar]])
        if self.training:  # nobody is blamed or cleared, nothing is lifted
            return low, high
        if self.lift:
            low, high = self._lifted(low, high, honest, output.experts[liar])
        return self._unbounded(low, high, output.views, liar)

    def _lifted(
        self,
        low: HeadOutputs,
        high: HeadOutputs,
        honest: Sequence[HeadOutputs],
        expert: HeadOutputs,
    ) -> tuple[HeadOutputs, HeadOutputs]:
        """The bounds with what :attr:`lift` adds to them, for class logits."""
        views = side_by_side(honest)[CLASSES]
        for n, alone in enumerate(expert[CLASSES]):
            raised = low[CLASSES][n] + self.lift
            low[CLASSES][n] = torch.minimum(raised, alone - self.margin)
            # A lie counts beside one view less; the least of the others limits it.
            second = views[n].sort(dim=0).values[1]
            limit = second + self.lift + self.margin
            high[CLASSES][n] = torch.maximum(high[CLASSES][n], limit)
        return low, high

    def _suspects(self, apart: Tensor) -> Tensor:
        """(N, P) contradictions to (N, S): who may lie; all, or the worst pair."""
        most, pair = apart.max(dim=1)
        numbers = torch.arange(len(self.sensors), device=apart.device)
        members = (numbers[:, None] == self.pairs[pair][:, None]).any(dim=2)
        return members | (most <= self.blame_at)[:, None]
