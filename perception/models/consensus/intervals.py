"""Ranges of outputs that hold whoever lies.

Shape letters: N frames, S sensors, K numbers of one kind, H_l, W_l size of pyramid
level l, L locations of all levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from perception.models.heads.outputs import HeadOutputs


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


def in_one_row(levels: Sequence[Tensor]) -> Tensor:
    """All levels (S, N, K, H_l, W_l) one after the other, (S, N, K, L, 1)."""
    return torch.cat([level.flatten(3) for level in levels], dim=3).unsqueeze(4)


def as_levels(row: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """A row (N, K, L, 1) cut into levels (N, K, H_l, W_l) as large as ``like``'s."""
    sizes = [level.shape[-2:] for level in like]
    parts = row.squeeze(3).split([h * w for h, w in sizes], dim=2)
    return [
        part.unflatten(2, (h, w)) for part, (h, w) in zip(parts, sizes, strict=True)
    ]


def safe_range(
    views: Tensor,
    experts: Tensor,
    suspects: Tensor | None = None,
    *,
    lift: float = 0.0,
    pull: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """What is safe to say whoever of the suspects lies: low and high (N, …).

    Args:
        views: (S, N, …) what each sensor says by itself.
        experts: (S, N, …) what all sensors but one say.
        suspects: (N, S) the two sensors of which one lies, or all; None for all.
        lift: How far an expert may raise the low end above the least of the others'
            words that count with its own; the high end is no lower.
        pull: How far an expert may move both ends towards its own word, as a fraction
            of them; they stay within what they are without, and where they cross they
            meet in the middle.
    """
    # A lying sensor may bring NaN about; any other number is as good a lie.
    views, experts = views.nan_to_num(), experts.nan_to_num()
    count, extra = len(views), [1] * (views.ndim - 2)
    # [i, j]: whether the word of j is left aside for the case that i lies
    aside = torch.eye(count, dtype=torch.bool, device=views.device)
    aside = aside.view(count, count, 1, *extra)
    cleared = torch.zeros_like(aside[:, 0])
    if suspects is not None:
        # The word of a suspect's rival counts only if nobody is cleared.
        rivals = suspects & ~suspects.all(dim=1, keepdim=True)
        aside = aside | rivals.T.reshape(1, count, -1, *extra)
        cleared = ~suspects.T.reshape(count, -1, *extra)
    least = views.masked_fill(aside, torch.inf).amin(dim=1)
    most = views.masked_fill(aside, -torch.inf).amax(dim=1)

    def ends(least: Tensor, most: Tensor) -> tuple[Tensor, Tensor]:
        low = torch.minimum(least, experts).masked_fill(cleared, -torch.inf)
        high = torch.maximum(most, experts).masked_fill(cleared, torch.inf)
        return low.amax(dim=0), high.amin(dim=0)

    low, high = ends(least + lift, most)
    high = torch.maximum(low, high)
    if not pull:
        return low, high
    inner, outer = ends(least + pull * least.abs(), most - pull * most.abs())
    middle = (inner + outer) / 2
    crossed = inner > outer
    inner, outer = inner.where(~crossed, middle), outer.where(~crossed, middle)
    return inner.clamp(low, high), outer.clamp(low, high)
