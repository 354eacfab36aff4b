"""Who contradicts whom: a gate that compares what sensors detect by themselves.

Shape letters: N frames, S sensors, P = S (S - 1) / 2 pairs of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor, nn

from perception.models.consensus.intervals import CLASSES, side_by_side
from perception.models.heads.outputs import HeadOutputs
from perception.models.losses import gate_losses

_MEASURES = 2  # of contradiction
_FLOOR = 1e-6  # of a contradiction, before its logarithm
_LEAST_VARIANCE = 1e-4


@dataclass(frozen=True)
class Verdict:
    """Whom to believe.

    Attributes:
        attributed: (N,) number of the sensor left out of a frame, S for none; None
            leaves that to the fusion.
        gate_logits: (N, S + 1) of who is compromised, class S: nobody; None without a
            gate.
        alarm: (N,) above 0 where some sensor is compromised, whether or not it is
            known which; None without a gate, and if it was told.
        suspects: (N, S) who may be compromised where somebody is and it is not
            known who; None if it may be anybody.
        contradictions: (N, P, 2) what the gate judged by, see :func:`contradictions`.
    """

    attributed: Tensor | None = None
    gate_logits: Tensor | None = None
    alarm: Tensor | None = None
    suspects: Tensor | None = None
    contradictions: Tensor | None = None


class DisagreementGate(nn.Module):
    """Attribute an alarm to the sensor that two others contradict.

    Each pair of branch predictions is compared by :func:`contradictions`. Benign
    frames give the mean and the deviation of their logarithms: those of training at
    first, unseen ones with ``tools/calibrate.py``. How much two sensors contradict each
    other is by how many deviations one of them lies above its mean. A sensor that two
    others contradict by ``attribution_threshold`` or more is the compromised one (the
    one whose second witness is the strongest, if there are several).

    Args:
        sensors: Names of the S sensors.
        attribution_threshold: Contradiction that two witnesses need, in deviations.
        alarm_threshold: Contradiction from which there is an alarm, at most that: a
            wrong attribution costs a sensor, a wrong alarm little.
        momentum: Least weight of a training step's benign frames in the mean and
            deviation; small for adversarial training, so that benign frames have to
            keep to the limits that clean training left.
        loss_weight: Factor of the odd-one-out loss and of the cross-entropy of the
            alarm, for adversarial training: what a sensor says by itself then learns to
            show that it is attacked. 0: the gate is not taught.
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
        attribution_threshold: float = 2.5,
        alarm_threshold: float = 2.5,
        momentum: float = 0.02,
        loss_weight: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 < alarm_threshold <= attribution_threshold or not 0 < momentum <= 1:
            raise ValueError(
                "alarm_threshold must be positive, attribution_threshold not less and "
                f"momentum up to 1, got {alarm_threshold}, {attribution_threshold} and "
                f"{momentum}"
            )
        self.sensors = tuple(sensors)
        self.attribution_threshold = attribution_threshold
        self.alarm_threshold = alarm_threshold
        self.momentum, self.loss_weight = momentum, loss_weight
        pairs = list(combinations(range(len(sensors)), 2))
        own = [
            [p for p, pair in enumerate(pairs) if i in pair]
            for i in range(len(sensors))
        ]
        self.register_buffer("pairs", torch.tensor(pairs), persistent=False)
        self.register_buffer("own_pairs", torch.tensor(own), persistent=False)
        # Until it has seen a frame nobody contradicts anybody: the logarithms of what
        # is at most 1 are below 0, those of a lack of correlation below log 2.
        shape = len(pairs), _MEASURES
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(
        self,
        branches: Sequence[HeadOutputs],
        leave_out: Tensor | None = None,
        *,
        take_turns: bool = False,
    ) -> Verdict:
        """Whom S branch predictions of N frames contradict.

        Args:
            branches: What each sensor predicts by itself.
            leave_out: (N,) the sensor known to be compromised, S for none.
            take_turns: In training leave out one sensor after the other, else none.
        """
        said = contradictions(branches)
        deviations = self.deviations(said)
        logits = self.logits(deviations)
        if leave_out is not None:
            return Verdict(leave_out, logits, contradictions=said)
        alarm = deviations.amax(dim=1) - self.alarm_threshold
        if not self.training:
            suspects = self.suspects(deviations)
            return Verdict(logits.argmax(dim=1), logits, alarm, suspects, said)
        attributed = self._turns(len(logits), logits.device)
        if not take_turns:
            attributed = torch.full_like(attributed, len(self.sensors))
        return Verdict(attributed, logits, alarm, None, said)

    def deviations(self, said: Tensor) -> Tensor:
        """(N, P, 2) contradictions to (N, P): deviations above the mean."""
        return ((said - self.mean) / self.deviation).amax(dim=2)

    def logits(self, deviations: Tensor) -> Tensor:
        """(N, P) to the gate's logits (N, S + 1)."""
        second = deviations[:, self.own_pairs].topk(2, dim=2).values[..., 1]
        logits = second - self.attribution_threshold
        return torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1)

    def suspects(self, deviations: Tensor) -> Tensor:
        """(N, P) to (N, S): who may be compromised; all, or the worst pair."""
        most, pair = deviations.max(dim=1)
        numbers = torch.arange(len(self.sensors), device=deviations.device)
        members = (numbers[:, None] == self.pairs[pair][:, None]).any(dim=2)
        return members | (most <= self.attribution_threshold)[:, None]

    def others_contradict(
        self, branches: Sequence[HeadOutputs], compromised: int
    ) -> Tensor:
        """(N,) where two sensors other than this may have one of them left out."""
        benign = (self.pairs != compromised).all(dim=1)
        deviations = self.deviations(contradictions(branches))
        return ((deviations >= self.attribution_threshold) & benign).any(dim=1)

    def losses(self, verdict: Verdict, odd_sensors: Tensor) -> dict[str, Tensor]:
        """See :func:`gate_losses`, and the cross-entropy of the alarm.

        In training the frames where no sensor is compromised are remembered.

        Args:
            verdict: Of N frames.
            odd_sensors: (N,) index of the compromised sensor, S for none.
        """
        said, logits, alarm = verdict.contradictions, verdict.gate_logits, verdict.alarm
        assert said is not None and logits is not None
        benign = odd_sensors == len(self.sensors)
        if self.training:
            self._remember(said[benign])
        terms = gate_losses(
            logits, odd_sensors, sensors=self.sensors, weight=self.loss_weight
        )
        if self.loss_weight > 0 and alarm is not None:
            loss = F.binary_cross_entropy_with_logits(alarm, (~benign).float())
            terms["loss_alarm"] = self.loss_weight * loss
        return terms

    def false_alarms(self, said: Tensor) -> tuple[float, float]:
        """Shares of benign frames (N, P, 2) with an attributed alarm, and another."""
        deviations = self.deviations(said)
        attributed = self.logits(deviations).argmax(dim=1) < len(self.sensors)
        alarm = (deviations > self.alarm_threshold).any(dim=1) & ~attributed
        return float(attributed.float().mean()), float(alarm.float().mean())

    @torch.no_grad()
    def calibrate(self, said: Tensor) -> None:
        """Forget the frames of training; benign frames are like these.

        Training frames are fitted and augmented, so that a detector's sensors disagree
        somewhat more on frames that it has not seen.

        Args:
            said: :func:`contradictions` (N, P, 2) of N >= 2 unseen benign frames.
        """
        if len(said) < 2:
            raise ValueError(f"a deviation needs two frames, got {len(said)}")
        self.mean, self.deviation = said.mean(dim=0), said.std(dim=0).clamp(min=1e-2)

    @torch.no_grad()
    def _remember(self, said: Tensor) -> None:
        """Running mean and deviation of benign frames; the first steps count alike."""
        moments = moments_of(said)
        if moments is None:
            return
        self.steps += 1
        weight = max(self.momentum, 1.0 / self.steps.item())
        # New tensors: the loss of this step still needs the old ones.
        before = self.deviation.square() + self.mean.square()
        self.mean = self.mean.lerp(moments[0], weight)
        variance = before.lerp(moments[1], weight) - self.mean.square()
        self.deviation = variance.clamp(min=_LEAST_VARIANCE).sqrt()

    def _turns(self, frames: int, device: torch.device) -> Tensor:
        """(N,) every second frame does without one sensor, in turn.

        Deterministic, so that a resumed training goes on as if it had not stopped.
        """
        numbers, count = torch.arange(frames, device=device), len(self.sensors)
        turn = (numbers // 2 + self.steps) % count
        return torch.where(numbers % 2 == 0, count, turn)


def contradictions(branches: Sequence[HeadOutputs]) -> Tensor:
    """(N, P, 2) logarithms of how much each pair of predictions contradicts itself.

    By two measures over all locations and classes: the mean distance of their class
    scores, and 1 less the correlation of their class logits, which sees what scores
    near 0 hide. The pairs are in the order of ``itertools.combinations``. What is not a
    number contradicts as much as can be.
    """
    levels = side_by_side(branches)[CLASSES]
    logits = torch.cat([level.flatten(2) for level in levels], dim=2)
    scores = logits.sigmoid()
    centred = logits - logits.mean(dim=2, keepdim=True)
    unit = centred / centred.norm(dim=2, keepdim=True).clamp(min=_FLOOR)
    logs = [
        torch.stack(
            [
                (scores[i] - scores[j]).abs().mean(dim=1).nan_to_num(1.0),
                (1 - (unit[i] * unit[j]).sum(dim=1)).nan_to_num(2.0),
            ],
            dim=1,
        )
        for i, j in combinations(range(len(branches)), 2)
    ]
    return torch.stack(logs, dim=1).clamp(_FLOOR).log()


def moments_of(said: Tensor) -> Tensor | None:
    """Mean and mean square (2, P, 2) over the frames (N, P, 2) of all processes.

    None if there are none at all; a single process need not have any.
    """
    ones = torch.ones_like(said)
    sums = torch.stack([x.sum(dim=0) for x in (said, said.square(), ones)])
    all_reduce(sums)
    return sums[:2] / sums[2] if sums[2].any() else None
