"""Raw outputs of MMDetection's dense heads, as values that can be cut and compared.

A head's outputs are a tuple of kinds (class logits first, then boxes, then whatever
else the head predicts), each a list of one (N, K, H_l, W_l) tensor per pyramid level.

Shape letters: N frames, V views, H_l, W_l size of pyramid level l.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmdet.models.dense_heads import FCOSHead
from mmdet.models.utils import unpack_gt_instances
from torch import Tensor, nn

from perception.models.heads.fcos_frame_losses import (
    can_take_frames_at_once,
    fcos_frame_losses,
)

Pyramid = tuple[Tensor, ...]
HeadOutputs = tuple[list[Tensor], ...]


def run(head: nn.Module, pyramid: Pyramid) -> HeadOutputs:
    """The head's outputs, in float32 also where autocast computes in less."""
    return tuple([level.float() for level in kind] for kind in head(pyramid))


def run_on_views(head: nn.Module, views: Sequence[Pyramid]) -> list[HeadOutputs]:
    """The outputs for each of V pyramids, from one pass over all of them."""
    stacked = tuple(torch.cat(level) for level in zip(*views, strict=True))
    kinds = [[level.chunk(len(views)) for level in kind] for kind in run(head, stacked)]
    return [
        tuple([level[v] for level in kind] for kind in kinds) for v in range(len(views))
    ]


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
    views: Sequence[HeadOutputs],
    samples: Sequence,
    frames: Sequence[int],
) -> dict[str, Tensor]:
    """The head's losses on some frames, the mean over views of them."""
    of_views = [losses_of_frames(head, view, samples, frames) for view in views]
    return {
        name: torch.stack([_total(losses[name]) for losses in of_views]).mean()
        for name in of_views[0]
    }


def worst_within(
    head: Any,
    outputs: HeadOutputs,
    bounds: Sequence[tuple[HeadOutputs, HeadOutputs]],
    samples: Sequence,
    frames: Sequence[int],
) -> list[HeadOutputs]:
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
    return [
        tuple(
            [pushed(*x) for x in zip(*kinds, strict=True)]
            for kinds in zip(low, high, by_number, strict=True)
        )
        for low, high in bounds
    ]


def _total(term: Tensor | list[Tensor]) -> Tensor:
    """Anchor-based heads give a term per level."""
    return term if isinstance(term, Tensor) else torch.stack(term).sum()


@contextmanager
def in_training_mode(*heads: nn.Module | None) -> Iterator[None]:
    """Set the heads' own ``training`` flags, leaving their layers as they are.

    Heads such as FCOS scale their box predictions by the flag, so that their loss is
    wrong in eval mode, where attacks need it; batch norm below must stay in eval.
    """
    present = [head for head in heads if head is not None]
    previous = [head.training for head in present]
    for head in present:
        head.training = True
    try:
        yield
    finally:
        for head, training in zip(present, previous, strict=True):
            head.training = training


@contextmanager
def shared_targets(*heads: nn.Module | None) -> Iterator[None]:
    """Within this context FCOS heads assign a frame's ground truth only once.

    The assignment depends on the ground truth and the grid alone; MMDetection repeats
    it at every loss, a fifth of the time of an attack's step. The ground truth must
    not be changed in place meanwhile.
    """
    present = [head for head in heads if isinstance(head, FCOSHead)]
    outer = [vars(head).get("get_targets") for head in present]  # of a context around
    for head in present:
        head.get_targets = _remembering(head.get_targets)
    try:
        yield
    finally:
        for head, previous in zip(present, outer, strict=True):
            del head.get_targets  # the class's own shows again
            if previous is not None:
                head.get_targets = previous


def _remembering(get_targets: Callable) -> Callable:
    known: dict[Any, tuple] = {}

    def remembered(points: list[Tensor], truth: list) -> Any:
        grid = tuple(len(level) for level in points)
        key = (grid, *(id(frame) for frame in truth))
        if key not in known:  # the truth is kept, so that nothing else gets its id
            known[key] = (truth, get_targets(points, truth))
        return known[key][1]

    return remembered
