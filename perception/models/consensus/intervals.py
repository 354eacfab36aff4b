"""Intervals of outputs that hold whoever is compromised: pure functions.

Shape letters: N frames, S sensors, K numbers of one kind, H_l, W_l size of pyramid
level l, L locations of all levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from perception.models.heads.outputs import HeadOutputs

CLASSES, BOXES = 0, 1  # which of a dense head's kinds of outputs are these


@dataclass(frozen=True)
class Margins:
    """How far beyond a consensus interval a prediction may lie.

    Attributes:
        scores: Class logits and other scores, by this much.
        boxes: The numbers of a box, by this fraction of their size.
    """

    scores: float = 0.0
    boxes: float = 0.0

    def __post_init__(self) -> None:
        if min(self.scores, self.boxes) < 0:
            raise ValueError(
                f"margins must not be negative, got {self.scores} and {self.boxes}"
            )

    def beyond(self, kind: int, limit: Tensor) -> Tensor | float:
        """How far beyond a limit outputs of one kind may lie."""
        return self.boxes * limit.abs() if kind == BOXES else self.scores


def moved_into(
    low: Tensor,
    high: Tensor,
    prediction: Tensor | None,
    beyond: tuple[Tensor | float, Tensor | float] = (0.0, 0.0),
) -> Tensor:
    """A prediction (N, K, …) clamped to an interval, widened at both ends.

    Without a prediction, and where it is not a number, the middle of the interval.
    """
    middle = (low + high) / 2
    if prediction is None:
        return middle
    # A compromised sensor may bring NaN about: sorting puts it last, clamping keeps it.
    prediction = torch.where(prediction.isnan(), middle, prediction)
    return prediction.clamp(low - beyond[0], high + beyond[1])


def near_median(
    branches: Sequence[HeadOutputs],
    prediction: HeadOutputs | None,
    *,
    margins: Margins,
    freedom: Tensor | float,
    left_out: Tensor | None,
) -> HeadOutputs:
    """Every number of a prediction moved near the median of S branch predictions.

    Args:
        branches: What each sensor predicts by itself.
        prediction: A richer one; None for the middle of the intervals.
        margins: How far beyond the interval it may lie where ``freedom`` is 1.
        freedom: (N, 1, 1, 1); where it is 0, the interval is all there is.
        left_out: (N,) sensors that do not count, S for none; see
            :func:`median_interval`.
    """
    if left_out is not None and not torch.jit.is_tracing():
        # A trace would keep this choice, which only saves time.
        left_out = None if (left_out == len(branches)).all() else left_out

    def moved(kind: int, n: int, said: Tensor) -> Tensor:
        low, high = median_interval(said, left_out)
        wanted = None if prediction is None else prediction[kind][n]
        beyond = (
            freedom * margins.beyond(kind, low),
            freedom * margins.beyond(kind, high),
        )
        return moved_into(low, high, wanted, beyond)

    return tuple(
        [moved(kind, n, said) for n, said in enumerate(levels)]
        for kind, levels in enumerate(side_by_side(branches))
    )


def hull(
    benign: Sequence[HeadOutputs], margins: Margins | None
) -> tuple[HeadOutputs, HeadOutputs]:
    """Smallest and largest of benign predictions, widened by margins if there are."""
    low, high = [], []
    for kind, levels in enumerate(side_by_side(benign)):
        lowest = [level.amin(dim=0) for level in levels]
        highest = [level.amax(dim=0) for level in levels]
        if margins is not None:
            lowest = [limit - margins.beyond(kind, limit) for limit in lowest]
            highest = [limit + margins.beyond(kind, limit) for limit in highest]
        low.append(lowest)
        high.append(highest)
    return tuple(low), tuple(high)


def unbounded_where(
    frames: Tensor, bounds: tuple[HeadOutputs, HeadOutputs]
) -> tuple[HeadOutputs, HeadOutputs]:
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
