"""How much two sensors contradict each other by what they detect alone.

And what is usual of honest frames.

Shape letters: N frames, S sensors, P = S (S - 1) / 2 pairs of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from mmengine.dist import all_reduce
from torch import Tensor

from perception.models.consensus.intervals import side_by_side
from perception.models.heads.outputs import HeadOutputs

MEASURES = 2  # of contradiction
_FLOOR = 1e-6  # of a contradiction, before its logarithm
_LEAST_VARIANCE = 1e-4


def pairs_of(count: int) -> tuple[Tensor, Tensor]:
    """Who is paired: (P, 2) sensors of each pair, (S, S - 1) pairs of each sensor."""
    pairs = list(combinations(range(count), 2))
    own = [[p for p, pair in enumerate(pairs) if i in pair] for i in range(count)]
    return torch.tensor(pairs), torch.tensor(own)


def contradictions(views: Sequence[HeadOutputs]) -> Tensor:
    """(N, P, 2) logarithms of how much each pair of views contradicts itself.

    By two measures over all locations and classes: the mean distance of their class
    scores, and 1 less the correlation of their class logits, which sees what scores
    near 0 hide. The pairs are in the order of ``itertools.combinations``. What is not a
    number contradicts as much as can be.
    """
    logits = torch.cat([level.flatten(2) for level in side_by_side(views)[0]], dim=2)
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
        for i, j in combinations(range(len(views)), 2)
    ]
    return torch.stack(logs, dim=1).clamp(_FLOOR).log()


def moments_of(logs: Tensor) -> Tensor | None:
    """Mean and mean square (2, P, 2) over the frames (N, P, 2) of all processes.

    None if there are none at all; a single process need not have any.
    """
    ones = torch.ones_like(logs)
    sums = torch.stack([x.sum(dim=0) for x in (logs, logs.square(), ones)])
    all_reduce(sums)
    return sums[:2] / sums[2] if sums[2].any() else None


def updated(
    mean: Tensor, deviation: Tensor, moments: Tensor, weight: float
) -> tuple[Tensor, Tensor]:
    """A running mean and deviation, moved by ``weight`` towards new ``moments``."""
    before = deviation.square() + mean.square()
    mean = mean.lerp(moments[0], weight)
    variance = before.lerp(moments[1], weight) - mean.square()
    return mean, variance.clamp(min=_LEAST_VARIANCE).sqrt()
