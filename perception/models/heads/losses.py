"""Losses of raw outputs: of a batch, of single frames, at the worst within bounds.

Shape letters: N frames, H_l, W_l size of pyramid level l.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmdet.models.utils import unpack_gt_instances
from torch import Tensor

from perception.models.heads.fcos_frame_losses import (
    can_take_frames_at_once,
    fcos_frame_losses,
)
from perception.models.heads.linear import LinearHead
from perception.models.heads.outputs import HeadOutputs


def by_attack(samples: Sequence) -> Iterator[tuple[str, list[int]]]:
    """Numbers of the benign frames, and apart from them of those attacked, if any.

    So the latter weigh as much in the losses as all the benign ones.

    Args:
        samples: N frames; ``odd_sensor`` names a sensor known to be compromised.

    Yields:
        The prefix of the losses' names, ``""`` or ``"attacked_"``, and the numbers.
    """
    attacked = [sample.get("odd_sensor") is not None for sample in samples]
    for prefix, wanted in (("", False), ("attacked_", True)):
        if frames := [n for n, one in enumerate(attacked) if one == wanted]:
            yield prefix, frames


def losses_of_frames(
    head: Any, outputs: HeadOutputs, samples: Sequence, frames: Sequence[int]
) -> dict[str, Tensor]:
    """The head's losses on some frames, normalised over these alone.

    Args:
        head: The head whose outputs these are.
        outputs: For N frames.
        samples: Those of the chosen frames, with ground truth.
        frames: Their numbers among the N.
    """
    if list(frames) != list(range(len(outputs[0][0]))):
        outputs = tuple([level[list(frames)] for level in kind] for kind in outputs)
    boxes, ignored, metas = unpack_gt_instances(list(samples))
    return head.loss_by_feat(*outputs, boxes, metas, ignored)


def losses_by_frame(head: Any, outputs: HeadOutputs, samples: Sequence) -> Tensor:
    """(N,) sum of the head's losses of each frame, normalised over it alone."""
    if isinstance(head, LinearHead):
        return head.frame_losses(outputs, [sample.gt_instances for sample in samples])
    if can_take_frames_at_once(head):
        truth = [sample.gt_instances for sample in samples]
        return fcos_frame_losses(head, outputs, truth)
    terms = [
        losses_of_frames(head, outputs, [sample], [n])
        for n, sample in enumerate(samples)
    ]
    return torch.stack(
        [
            torch.stack([_total(losses[name]) for name in losses if "loss" in name])
            for losses in terms
        ]
    ).sum(dim=1)


def mean_losses(
    head: Any,
    predictions: Sequence[HeadOutputs],
    samples: Sequence,
    frames: Sequence[int],
    *,
    weight: float,
    name: str,
) -> dict[str, Tensor]:
    """The head's losses on some frames, the mean over several predictions of them.

    Args:
        head: The head whose outputs these are.
        predictions: For N frames each.
        samples: Those of the chosen frames, with ground truth.
        frames: Their numbers among the N.
        weight: Factor of the losses.
        name: What their names begin with, ``NAME_``.
    """
    each = [losses_of_frames(head, one, samples, frames) for one in predictions]
    return {
        f"{name}_{term}": weight
        * torch.stack([_total(losses[term]) for losses in each]).mean()
        for term in each[0]
    }


def worst_within(
    head: Any,
    outputs: HeadOutputs,
    bounds: Sequence[tuple[HeadOutputs, HeadOutputs]],
    samples: Sequence,
    frames: Sequence[int],
) -> tuple[HeadOutputs, ...]:
    """For each pair of bounds the outputs within them that do most harm.

    To first order: every number goes to the end that raises the detection loss. For
    class scores, whose losses are monotone and apart, that is exact.

    Args:
        head: The head whose outputs these are.
        outputs: For N frames.
        bounds: Smallest and largest values that outputs may take.
        samples: The chosen frames, with ground truth.
        frames: Their numbers among the N.
    """
    free = tuple([x.detach().requires_grad_() for x in kind] for kind in outputs)
    flat = [x for kind in free for x in kind]
    with torch.enable_grad():
        terms = losses_of_frames(head, free, samples, frames).values()
        loss = torch.stack([_total(term) for term in terms]).sum()
    slopes = iter(torch.autograd.grad(loss, flat, allow_unused=True))

    def pushed(low: Tensor, high: Tensor, slope: Tensor | None) -> Tensor:
        return low if slope is None else torch.where(slope > 0, high, low)

    by_number = [[next(slopes) for _ in kind] for kind in free]
    return tuple(
        tuple(
            [pushed(*x) for x in zip(*kinds, strict=True)]
            for kinds in zip(low, high, by_number, strict=True)
        )
        for low, high in bounds
    )


def _total(term: Tensor | list[Tensor]) -> Tensor:
    """Anchor-based heads give a term per level."""
    return term if isinstance(term, Tensor) else torch.stack(term).sum()
