"""How much two sensors contradict each other by what they detect alone.

Shape letters: N frames, S sensors, P = S (S - 1) / 2 pairs of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from perception.models.fusion.ranges import side_by_side
from perception.models.heads import HeadOutputs

MEASURES = 2  # of contradiction
_FLOOR = 1e-6  # of a contradiction, before its logarithm


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
