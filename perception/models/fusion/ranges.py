"""Ranges of outputs that hold whoever lies.

Shape letters: N frames, S sensors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from perception.models.heads import HeadOutputs


def trusted_range(views: Tensor, blamed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Second smallest and second largest of S views (S, N, …), low and high (N, …).

    In frames where a sensor is ``blamed`` (N,), smallest and largest of the others.
    """
    ordered = views.sort(dim=0).values
    low, high = ordered[1], ordered[-2]
    if blamed is None:
        return low, high
    numbers = torch.arange(len(views), device=views.device)
    shape = (len(views), -1, *[1] * (views.ndim - 2))
    left_out = (numbers[:, None] == blamed).view(shape)
    told = left_out.any(dim=0)
    lowest = views.masked_fill(left_out, torch.inf).amin(dim=0)
    highest = views.masked_fill(left_out, -torch.inf).amax(dim=0)
    return torch.where(told, lowest, low), torch.where(told, highest, high)


def side_by_side(views: Sequence[HeadOutputs]) -> list[list[Tensor]]:
    """For each kind and level the views' outputs, stacked: (S, N, K, H_l, W_l)."""
    return [
        [torch.stack(level) for level in zip(*by_view, strict=True)]
        for by_view in zip(*views, strict=True)
    ]


def safe_range(
    views: Tensor, experts: Tensor, suspects: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What is safe to say whoever of the suspects lies: low and high (N, …).

    Args:
        views: (S, N, …) what each sensor says by itself.
        experts: (S, N, …) what all sensors but one say.
        suspects: (N, S) the two sensors of which one lies, or all; None for all.
    """
    # A lying sensor may bring NaN about; any other number is as good a lie.
    views, experts = views.nan_to_num(), experts.nan_to_num()
    count = len(views)
    extra = [1] * (views.ndim - 2)
    low = torch.full_like(views[0], -torch.inf)
    high = torch.full_like(views[0], torch.inf)
    for i in range(count):
        others = [j for j in range(count) if j != i]
        if suspects is None:
            lowest, highest = views[others].amin(dim=0), views[others].amax(dim=0)
        else:
            # The word of a suspect's rival counts only if nobody is cleared.
            ignored = suspects[:, others] & ~suspects.all(dim=1, keepdim=True)
            ignored = ignored.T.reshape(len(others), -1, *extra)
            lowest = views[others].masked_fill(ignored, torch.inf).amin(dim=0)
            highest = views[others].masked_fill(ignored, -torch.inf).amax(dim=0)
        lowest = torch.minimum(lowest, experts[i])
        highest = torch.maximum(highest, experts[i])
        if suspects is not None:
            cleared = ~suspects[:, i].view(-1, *extra)
            lowest = lowest.masked_fill(cleared, -torch.inf)
            highest = highest.masked_fill(cleared, torch.inf)
        low, high = torch.maximum(low, lowest), torch.minimum(high, highest)
    return low, high
