"""Fusion that blames the sensor whose own predictions disagree with the majority's.

Shape letters: N frames, S sensors, K classes, H_l, W_l size of pyramid level l.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from mmdet.registry import MODELS
from mmengine.dist import all_reduce
from torch import Tensor

from perception.models.fusion.base import FusionOutput
from perception.models.fusion.median import MedianFusion, side_by_side, trusted_range
from perception.models.fusion.odd_one_out import OddOneOutFusion
from perception.models.heads import HeadOutputs

_FLOOR = 1e-6  # of a disagreement, before its logarithm


@MODELS.register_module()
class AgreementFusion(MedianFusion):
    """Leave out the sensor whose predictions leave the majority's, as a whole frame.

    To do harm a lying sensor must make the detector predict something else than the
    others do, and what it predicts by itself shows that. So every sensor predicts
    alone, as in :class:`MedianFusion`, and its *disagreement* in a frame is the mean
    distance of its class scores from the middle of the trusted range:

        d_i = mean over locations and classes of |sigmoid(v_i) - sigmoid(middle)|.

    Honest frames give the mean and the standard deviation of log d_i: those of training
    at first, unseen ones with ``tools/calibrate.py``. A sensor more than ``blame_at``
    deviations above its mean (the furthest one, if several are) is blamed: the
    leave-one-out expert that never sees it (:class:`OddOneOutFusion`) predicts, within
    the range of the others, widened by ``margin``. While nobody is blamed all sensors
    predict together, near the median. This gate needs no attack to be trained; in
    training every other frame goes through the expert of one sensor after the other.

    What it cannot see: an attack that moves no sensor's own predictions by much, and
    the all-sensor expert within its margin. Adversarial training is against those.

    **Certificate.** That of :class:`MedianFusion` holds for a lying sensor i in every
    frame where it cannot bring blame upon an honest one. The middle of the trusted
    range lies among any S - 1 of the views, so whatever i says d_j is at most the mean
    distance of v_j from the furthest honest view. Where that is below the limit of
    every honest j, the sensor left out can only be i itself. See :meth:`bounds`.

    Args:
        sensors: Names of S >= 3 sensors; between two there is no majority.
        in_channels: Channels of each sensor's pyramid.
        num_levels: Number of pyramid levels.
        out_channels: Channels of the views and of the fused pyramid.
        blame_at: Standard deviations above the mean from which a sensor is blamed.
        momentum: Weight of a training step's honest frames in the mean and deviation.
        loss_weight: Factor of the odd-one-out loss, for adversarial training: what a
            sensor says by itself then learns to show that it is attacked. 0: the gate
            is not taught.
        margin: See :class:`MedianFusion`, like all that follow.
        box_margin: The same for boxes.
        view_loss_weight: Factor of the loss of each sensor's own detections.
        init_cfg: MMEngine initialisation config.
    """

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
        blame_at: float = 3.0,
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
        if blame_at <= 0 or not 0 < momentum <= 1:
            raise ValueError(
                "blame_at must be positive and momentum up to 1, got "
                f"{blame_at} and {momentum}"
            )
        self.blame_at, self.momentum = blame_at, momentum
        count = len(self.sensors)
        # Until it has seen a frame it blames nobody: log d_i is below 0.
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("deviation", torch.ones(count))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    @property
    def has_gate(self) -> bool:
        """It does."""
        return True

    def fuse(
        self, levels: Sequence[Sequence[Tensor]], views: Sequence[HeadOutputs] = ()
    ) -> FusionOutput:
        """Features without the sensor that disagrees, and how much each one does."""
        excess = self._excess(disagreement(views))
        logits = torch.cat([excess, torch.zeros_like(excess[:, :1])], dim=1)
        if self._forced is not None:
            blamed = self._for_every_frame(levels, self._forced)
        elif self.training:
            blamed = self._taking_turns(logits)
        else:
            blamed = logits.argmax(dim=1)
        experts = cast(OddOneOutFusion, self.fused)
        features = experts.leave_out(levels, blamed)
        return FusionOutput(features, logits, tuple(views), blamed)

    def bounds(
        self, views: Sequence[HeadOutputs], liar: int
    ) -> tuple[HeadOutputs, HeadOutputs]:
        """:meth:`MedianFusion.bounds`, infinite where an honest one may be blamed."""
        low, high = super().bounds(views, liar)
        honest = [i for i in range(len(views)) if i != liar]
        scores = [level.sigmoid() for level in side_by_side(views)[0]]
        furthest = _mean(
            [(x[honest, None] - x[honest]).abs().amax(dim=0) for x in scores]
        )
        may_be_blamed = self._excess(furthest, honest) > 0
        open_ = may_be_blamed.any(dim=1)[:, None, None, None]
        return (
            tuple([x.masked_fill(open_, -torch.inf) for x in kind] for kind in low),
            tuple([x.masked_fill(open_, torch.inf) for x in kind] for kind in high),
        )

    def losses(self, output: FusionOutput, odd_sensors: Tensor) -> dict[str, Tensor]:
        """As :meth:`OddOneOutFusion.losses`; remembers what honest frames look like."""
        if self.training:
            self._remember(output.views, odd_sensors == len(self.sensors))
        return super().losses(output, odd_sensors)

    def false_alarms(self, distances: Tensor) -> float:
        """Share of honest frames (N, S) of :func:`disagreement` that blame a sensor."""
        return float((self._excess(distances) > 0).any(dim=1).float().mean())

    @torch.no_grad()
    def calibrate(self, distances: Tensor) -> None:
        """Forget the frames of training; honest frames are like these.

        Training frames are fitted and augmented, so that a detector's sensors disagree
        somewhat more on frames that it has not seen.

        Args:
            distances: :func:`disagreement` (N, S) of N >= 2 unseen honest frames.
        """
        if len(distances) < 2:
            raise ValueError(f"a deviation needs two frames, got {len(distances)}")
        logs = distances.clamp(_FLOOR).log()
        self.mean, self.deviation = logs.mean(dim=0), logs.std(dim=0).clamp(min=1e-2)

    @torch.no_grad()
    def _remember(self, views: Sequence[HeadOutputs], honest: Tensor) -> None:
        """Running mean and deviation of log d_i; the first steps count alike.

        Only of the frames that are ``honest`` (N,).
        """
        logs = disagreement(views)[honest].clamp(_FLOOR).log()
        sums = torch.stack(
            [
                logs.sum(dim=0),
                logs.square().sum(dim=0),
                torch.ones_like(logs).sum(dim=0),
            ]
        )
        all_reduce(sums)  # over all processes, none of which need have any
        if not sums[2].any():
            return
        mean, square = sums[:2] / sums[2]
        self.steps += 1
        weight = max(self.momentum, 1.0 / self.steps.item())
        before = self.deviation.square() + self.mean.square()
        if self.steps == 1:
            before = square
        # New tensors: the loss of this step still needs the old ones.
        self.mean = self.mean.lerp(mean, weight)
        variance = torch.lerp(before, square, weight) - self.mean.square()
        self.deviation = variance.clamp(min=1e-4).sqrt()

    def _excess(self, distances: Tensor, of: Sequence[int] | None = None) -> Tensor:
        """(N, S) by how many deviations each sensor, or those ``of``, are too far."""
        chosen = slice(None) if of is None else list(of)
        logs = distances.clamp(_FLOOR).log()
        return (logs - self.mean[chosen]) / self.deviation[chosen] - self.blame_at

    def _taking_turns(self, logits: Tensor) -> Tensor:
        """(N,) in training every second frame does without one sensor, in turn.

        Deterministic, so that a resumed training goes on as if it had not stopped.
        """
        frames, count = len(logits), len(self.sensors)
        numbers = torch.arange(frames, device=logits.device)
        turn = (numbers // 2 + self.steps) % count
        return torch.where(numbers % 2 == 0, count, turn)


def disagreement(views: Sequence[HeadOutputs]) -> Tensor:
    """(N, S) mean distance of each view's class scores from the trusted range's middle.

    What is not a number disagrees as much as can be.
    """
    far = []
    for level in side_by_side(views)[0]:  # (S, N, K, H_l, W_l)
        scores = level.sigmoid()
        low, high = trusted_range(scores)
        far.append((scores - (low + high) / 2).abs().nan_to_num(1.0))
    return _mean(far)


def _mean(levels: Sequence[Tensor]) -> Tensor:
    """Mean over all but the first two axes of every level, (S, N, …) to (N, S)."""
    flat = torch.cat([level.flatten(2) for level in levels], dim=2)
    return flat.mean(dim=2).T
