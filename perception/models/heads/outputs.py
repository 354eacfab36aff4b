"""Raw outputs of MMDetection's dense heads, as values that can be cut and compared.

A head's outputs are a tuple of kinds (class logits first, then boxes, then whatever
else the head predicts), each a list of one (N, K, H_l, W_l) tensor per pyramid level.

Shape letters: N frames, V pyramids, H_l, W_l size of pyramid level l.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmdet.models.dense_heads import FCOSHead
from torch import Tensor, nn

from perception.models.pyramid import Pyramid

HeadOutputs = tuple[list[Tensor], ...]


def run(head: nn.Module, pyramid: Pyramid) -> HeadOutputs:
    """The head's outputs, in float32 also where autocast computes in less."""
    return tuple([level.float() for level in kind] for kind in head(pyramid))


def run_stacked(
    head: nn.Module, pyramids: Sequence[Pyramid]
) -> tuple[HeadOutputs, ...]:
    """The outputs for each of V pyramids, from one pass over all of them."""
    stacked, count = tuple(map(torch.cat, zip(*pyramids, strict=True))), len(pyramids)
    kinds = [[level.chunk(count) for level in kind] for kind in run(head, stacked)]
    return tuple(
        tuple([level[v] for level in kind] for kind in kinds) for v in range(count)
    )


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
    present = [
        (head, name)
        for head in heads
        for name in ("get_targets", "assigned")  # the latter is FCOS3DHead's
        if isinstance(head, FCOSHead) and hasattr(head, name)
    ]
    outer = [vars(head).get(name) for head, name in present]  # of a context around
    for head, name in present:
        setattr(head, name, _remembering(getattr(head, name)))
    try:
        yield
    finally:
        for (head, name), previous in zip(present, outer, strict=True):
            delattr(head, name)  # the class's own shows again
            if previous is not None:
                setattr(head, name, previous)


def _remembering(get_targets: Callable) -> Callable:
    known: dict[Any, tuple] = {}

    def remembered(points: Sequence[Tensor], truth: Sequence) -> Any:
        grid = tuple(len(level) for level in points)
        key = (grid, *(id(frame) for frame in truth))
        if key not in known:  # the truth is kept, so that nothing else gets its id
            known[key] = (truth, get_targets(points, truth))
        return known[key][1]

    return remembered
