"""Intervals of outputs that hold whoever is compromised: pure functions.

Shape letters: N frames, S sensors, K numbers of one kind, H_l, W_l size of pyramid
level l, L locations of all levels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from perception.models.consensus.directions import arc_bounds
from perception.models.heads.outputs import HeadOutputs

Bounds = tuple[HeadOutputs, HeadOutputs]
"""Smallest and largest values of a head's outputs."""
CLASSES, BOXES, METRES, DIRECTIONS = 0, 1, 3, 4  # a dense head's kinds of outputs


@dataclass(frozen=True)
class Margins:
    """How far beyond a consensus interval a prediction may lie.

    Attributes:
        scores: Class logits and other scores, by this much.
        boxes: The numbers of an image box, by this fraction of their size. (What is
            said of boxes in metres has no margin.)
    """

    scores: float = 0.0
    boxes: float = 0.0

    def __post_init__(self) -> None:
        if min(self.scores, self.boxes) < 0:
            raise ValueError(
                f"margins must not be negative, got {self.scores} and {self.boxes}"
            )

    def of(self, kind: int) -> Callable[[Tensor], Tensor | float]:
        """For outputs of one kind: how far beyond a limit they may lie."""
        if kind == BOXES:
            return lambda limit: self.boxes * limit.abs()
        return lambda limit: 0.0 if kind in (METRES, DIRECTIONS) else self.scores


def moved_into(
    low: Tensor,
    high: Tensor,
    prediction: Tensor | None,
    margin: Callable[[Tensor], Tensor | float],
    freedom: Tensor | float,
) -> Tensor:
    """A prediction (N, K, …) clamped to an interval, where free widened by margins.

    Without a prediction, and where it is not a number, the middle of the interval.

    Args:
        low: Smallest value without a margin.
        high: Largest value.
        prediction: What to clamp, or None.
        margin: Of each limit.
        freedom: (N, 1, 1, 1): 1 where the margins count, 0 where not.
    """
    middle = (low + high) / 2
    if prediction is None:
        return middle
    # A compromised sensor may bring NaN about: sorting puts it last, clamping keeps it.
    prediction = torch.where(prediction.isnan(), middle, prediction)
    return prediction.clamp(low - freedom * margin(low), high + freedom * margin(high))


def hull(benign: Sequence[HeadOutputs], margins: Margins) -> Bounds:
    """Smallest and largest of benign predictions, widened by the margins."""
    low, high = [], []
    for kind, levels in enumerate(side_by_side(benign)):
        if kind == DIRECTIONS:
            arcs = [arc_bounds(level) for level in levels]
            low.append([least for least, _ in arcs])
            high.append([most for _, most in arcs])
            continue
        margin = margins.of(kind)
        lowest = [level.amin(dim=0) for level in levels]
        highest = [level.amax(dim=0) for level in levels]
        low.append([limit - margin(limit) for limit in lowest])
        high.append([limit + margin(limit) for limit in highest])
    return tuple(low), tuple(high)


def unbounded_where(frames: Tensor, bounds: Bounds) -> Bounds:
    """The same bounds, infinite in the frames chosen by a mask (N,)."""
    mask = frames[:, None, None, None]
    low, high = bounds
    return (
        tuple([x.masked_fill(mask, -torch.inf) for x in kind] for kind in low),
        tuple([x.masked_fill(mask, torch.inf) for x in kind] for kind in high),
    )


def median_interval(
    branches: Tensor, left_out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Second smallest and second largest of S numbers (S, N, …): low and high (N, …).

    In frames where a sensor is ``left_out`` (N,), smallest and largest of the others.
    """
    ordered = branches.sort(dim=0).values
    low, high = ordered[1], ordered[-2]
    if left_out is None:
        return low, high
    numbers = torch.arange(len(branches), device=branches.device)
    shape = (len(branches), -1, *[1] * (branches.ndim - 2))
    aside = (numbers[:, None] == left_out).view(shape)
    told = aside.any(dim=0)
    lowest = branches.masked_fill(aside, torch.inf).amin(dim=0)
    highest = branches.masked_fill(aside, -torch.inf).amax(dim=0)
    return torch.where(told, lowest, low), torch.where(told, highest, high)


def consensus_interval(
    branches: Tensor,
    experts: Tensor,
    suspects: Tensor | None = None,
    *,
    slack: float = 0.0,
    contraction: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """What is safe whichever of the suspects is compromised: low and high (N, …).

    Args:
        branches: (S, N, …) what each sensor says by itself.
        experts: (S, N, …) what all sensors but one say.
        suspects: (N, S) the two sensors of which one is compromised, or all; None for
            all.
        slack: How far an expert may raise the low end above the least of the others'
            words that count with its own; the high end is no lower.
        contraction: How far an expert may move both ends towards its own word, as a
            fraction of them; they stay within what they are without, and where they
            cross they meet in the middle.
    """
    # A compromised sensor may bring NaN about; any other number is as good a lie.
    branches, experts = branches.nan_to_num(), experts.nan_to_num()
    count, extra = len(branches), [1] * (branches.ndim - 2)
    # [i, j]: whether the word of j is left aside for the case that i is compromised
    aside = torch.eye(count, dtype=torch.bool, device=branches.device)
    aside = aside.view(count, count, 1, *extra)
    cleared = torch.zeros_like(aside[:, 0])
    if suspects is not None:
        # The word of a suspect's rival counts only if nobody is cleared.
        rivals = suspects & ~suspects.all(dim=1, keepdim=True)
        aside = aside | rivals.T.reshape(1, count, -1, *extra)
        cleared = ~suspects.T.reshape(count, -1, *extra)
    least = branches.masked_fill(aside, torch.inf).amin(dim=1)
    most = branches.masked_fill(aside, -torch.inf).amax(dim=1)

    def ends(least: Tensor, most: Tensor) -> tuple[Tensor, Tensor]:
        low = torch.minimum(least, experts).masked_fill(cleared, -torch.inf)
        high = torch.maximum(most, experts).masked_fill(cleared, torch.inf)
        return low.amax(dim=0), high.amin(dim=0)

    low, high = ends(least + slack, most)
    high = torch.maximum(low, high)
    if not contraction:
        return low, high
    inner, outer = ends(
        least + contraction * least.abs(), most - contraction * most.abs()
    )
    middle = (inner + outer) / 2
    crossed = inner > outer
    inner, outer = inner.where(~crossed, middle), outer.where(~crossed, middle)
    return inner.clamp(low, high), outer.clamp(low, high)


def side_by_side(predictions: Sequence[HeadOutputs]) -> list[list[Tensor]]:
    """For each kind and level the outputs of S predictions: (S, N, K, H_l, W_l)."""
    return [
        [torch.stack(level) for level in zip(*one, strict=True)]
        for one in zip(*predictions, strict=True)
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
