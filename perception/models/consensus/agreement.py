"""Fusion that blames the sensor which two others contradict.

Shape letters: N frames, S sensors, P = S (S - 1) / 2 pairs of them, K classes,
H_l, W_l size of pyramid level l.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor

from perception.models.consensus.gate import (
    MEASURES,
    contradictions,
    moments_of,
    pairs_of,
    updated,
)
from perception.models.consensus.median import MedianFusion
from perception.models.fusion.base import FusionOutput
from perception.models.fusion.odd_one_out import OddOneOutFusion
from perception.models.heads.outputs import HeadOutputs


@MODELS.register_module()
class AgreementFusion(MedianFusion):
    """Leave out the sensor that two others contradict; keep to the median in doubt.

    To do harm a lying sensor must make the detector predict something else than the
    others do, and what it predicts by itself shows that. So every sensor predicts
    alone, as in :class:`MedianFusion`, and each pair of sensors is compared by
    :func:`contradictions`. Honest frames give the mean and the standard deviation of
    their logarithms: those of training at first, unseen ones with
    ``tools/calibrate.py``. How much two sensors contradict each other is by how many
    deviations one of them lies above its mean. Then

    * a sensor that two others contradict by ``blame_at`` or more is blamed (the one
      whose second witness is the strongest, if there are several): the leave-one-out
      expert that never sees it (:class:`OddOneOutFusion`) predicts, within the range of
      the others, widened by ``margin``;
    * with a contradiction of more than ``doubt_at`` but nobody to blame, the frame is
      in *doubt*: the prediction is kept within the trusted range itself;
    * otherwise all sensors predict together, within ``margin`` of that range.

    A wrong blame costs a sensor, a wrong doubt little: ``doubt_at`` may be lower.

    **Nobody can be framed.** A single liar is a single witness. It can contradict
    everybody, but an honest sensor is blamed only if an honest one contradicts it too,
    and what those two say of each other the liar does not touch. Comparing a sensor
    with the majority's opinion lacks this: a liar that sides with one honest sensor is
    the majority, and makes the other the odd one out.

    **Certificate.** Hence that of :class:`MedianFusion` holds with ``margin`` in every
    frame whose honest sensors contradict each other by less than ``blame_at``. See
    :meth:`bounds`.

    The gate needs no attack to be trained; in training every other frame goes through
    the expert of one sensor after the other. What it cannot see is an attack that
    moves the all-sensor expert within its margin and no sensor's own predictions by
    much. Adversarial training is against those.

    Args:
        sensors: Names of S >= 3 sensors; between two there is no majority.
        in_channels: Channels of each sensor's pyramid.
        num_levels: Number of pyramid levels.
        out_channels: Channels of the views and of the fused pyramid.
        blame_at: Contradiction that two witnesses need, in standard deviations.
        doubt_at: Contradiction from which a frame is in doubt, at most that.
        momentum: Least weight of a training step's honest frames in the mean and
            deviation; small for adversarial training, so that honest frames have to
            keep to the limits that clean training left.
        loss_weight: Factor of the odd-one-out loss and of the cross-entropy of doubt,
            for adversarial training: what a sensor says by itself then learns to show
            that it is attacked. 0: the gate is not taught.
        margin: See :class:`MedianFusion`, like all that follow.
        box_margin: The same for boxes.
        view_loss_weight: Factor of the loss of each sensor's own detections.
        init_cfg: MMEngine initialisation config.
    """

    pairs: Tensor  # (P, 2) numbers of the two sensors of each pair
    own_pairs: Tensor  # (S, S - 1) numbers of the pairs that each sensor is in
    mean: Tensor
    deviation: Tensor
    steps: Tensor

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
        view_loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            sensors=sensors,
            in_channels=in_channels,
            num_levels=num_levels,
            out_channels=out_channels,
            fused=dict(type="OddOneOutFusion", gate=None, loss_weight=loss_weight),
            margin=margin,
            box_margin=box_margin,
            view_loss_weight=view_loss_weight,
            init_cfg=init_cfg,
        )
        if not 0 < doubt_at <= blame_at or not 0 < momentum <= 1:
            raise ValueError(
                "doubt_at must be positive, blame_at not less and momentum up to 1, "
                f"got {doubt_at}, {blame_at} and {momentum}"
            )
        self.blame_at, self.doubt_at, self.momentum = blame_at, doubt_at, momentum
        pairs, own_pairs = pairs_of(len(self.sensors))
        self.register_buffer("pairs", pairs, persistent=False)
        self.register_buffer("own_pairs", own_pairs, persistent=False)
        # Until it has seen a frame nobody contradicts anybody: the logarithms of what
        # is at most 1 are below 0, those of a lack of correlation below log 2.
        shape = len(pairs), MEASURES
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    @property
    def has_gate(self) -> bool:
        """It does."""
        return True

    def fuse(
        self,
        levels: Sequence[Sequence[Tensor]],
        views: Sequence[HeadOutputs] = (),
        experts: Sequence[HeadOutputs] = (),
    ) -> FusionOutput:
        """Features without the sensor that two others contradict."""
        apart = self._apart(contradictions(views))
        logits = self._witnesses(apart)
        doubt = apart.amax(dim=1) - self.doubt_at if self._forced is None else None
        if self._forced is not None:
            blamed = self._for_every_frame(levels, self._forced)
        elif self.training:
            blamed = self._taking_turns(logits)
        else:
            blamed = logits.argmax(dim=1)
        layer = cast(OddOneOutFusion, self.fused)
        features = layer.leave_out(levels, blamed)
        return FusionOutput(features, logits, tuple(views), blamed, doubt)

    def bounds(
        self, output: FusionOutput, liar: int
    ) -> tuple[HeadOutputs, HeadOutputs]:
        """:meth:`MedianFusion.bounds`, infinite where an honest one may be blamed.

        That is where two honest sensors contradict each other by ``blame_at`` or more:
        one more witness, and the liar may be that, and one of them is blamed.
        """
        return self._unbounded(*super().bounds(output, liar), output.views, liar)

    def _unbounded(
        self,
        low: HeadOutputs,
        high: HeadOutputs,
        views: Sequence[HeadOutputs],
        liar: int,
    ) -> tuple[HeadOutputs, HeadOutputs]:
        """Limits that are infinite where two honest sensors contradict each other."""
        honest = (self.pairs != liar).all(dim=1)
        apart = self._apart(contradictions(views))
        open_ = ((apart >= self.blame_at) & honest).any(dim=1)[:, None, None, None]
        return (
            tuple([x.masked_fill(open_, -torch.inf) for x in kind] for kind in low),
            tuple([x.masked_fill(open_, torch.inf) for x in kind] for kind in high),
        )

    def losses(self, output: FusionOutput, odd_sensors: Tensor) -> dict[str, Tensor]:
        """As :meth:`OddOneOutFusion.losses`, and that doubt is right.

        Remembers what honest frames look like.
        """
        honest = odd_sensors == len(self.sensors)
        if self.training:
            self._remember(output.views, honest)
        terms = super().losses(output, odd_sensors)
        weight = cast(OddOneOutFusion, self.fused).loss_weight
        if weight > 0 and output.doubt is not None:
            loss = F.binary_cross_entropy_with_logits(output.doubt, (~honest).float())
            terms["loss_doubt"] = weight * loss
        return terms

    def false_alarms(self, logs: Tensor) -> tuple[float, float]:
        """Shares of honest frames (N, P, 2) in which a sensor is blamed, or in doubt.

        Of :func:`contradictions`.
        """
        apart = self._apart(logs)
        blamed = self._witnesses(apart).argmax(dim=1) < len(self.sensors)
        doubt = (apart > self.doubt_at).any(dim=1) & ~blamed
        return float(blamed.float().mean()), float(doubt.float().mean())

    @torch.no_grad()
    def calibrate(self, logs: Tensor) -> None:
        """Forget the frames of training; honest frames are like these.

        Training frames are fitted and augmented, so that a detector's sensors disagree
        somewhat more on frames that it has not seen.

        Args:
            logs: :func:`contradictions` (N, P, 2) of N >= 2 unseen honest frames.
        """
        if len(logs) < 2:
            raise ValueError(f"a deviation needs two frames, got {len(logs)}")
        self.mean, self.deviation = logs.mean(dim=0), logs.std(dim=0).clamp(min=1e-2)

    @torch.no_grad()
    def _remember(self, views: Sequence[HeadOutputs], honest: Tensor) -> None:
        """Running mean and deviation of honest frames; the first steps count alike.

        Only of the frames that are ``honest`` (N,).
        """
        moments = moments_of(contradictions(views)[honest])
        if moments is None:
            return
        self.steps += 1
        weight = max(self.momentum, 1.0 / self.steps.item())
        # New tensors: the loss of this step still needs the old ones.
        self.mean, self.deviation = updated(self.mean, self.deviation, moments, weight)

    def _apart(self, logs: Tensor) -> Tensor:
        """(N, P) by how many deviations each pair is above its mean."""
        return ((logs - self.mean) / self.deviation).amax(dim=2)

    def _witnesses(self, apart: Tensor) -> Tensor:
        """(N, P) to the gate's logits (N, S + 1): each sensor's second witness, 0."""
        second = apart[:, self.own_pairs].topk(2, dim=2).values[..., 1]
        logits = second - self.blame_at
        return torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1)

    def _taking_turns(self, logits: Tensor) -> Tensor:
        """(N,) in training every second frame does without one sensor, in turn.

        Deterministic, so that a resumed training goes on as if it had not stopped.
        """
        frames, count = len(logits), len(self.sensors)
        numbers = torch.arange(frames, device=logits.device)
        turn = (numbers // 2 + self.steps) % count
        return torch.where(numbers % 2 == 0, count, turn)
