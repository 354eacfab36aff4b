"""What may become of a frame's locations, whatever one sensor says.

The bounds of every number are those of ``Aggregator.bounds``; those of overlaps follow
from the smallest and the largest box.

Shape letters: L locations of all levels, K classes, G boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from perception.models.heads.outputs import HeadOutputs


@dataclass(frozen=True)
class Bounds:
    """What may become of one frame's locations, whatever one sensor says.

    Attributes:
        scores_low: (L, K) smallest score, class times centre-ness.
        scores_high: (L, K) largest score.
        classes_low: (L, K) smallest class score, which has to pass a threshold first.
        classes_high: (L, K) largest class score.
        inner: (L, 4) box inside every possible one, in pixels of the input.
        outer: (L, 4) box around every possible one.
        level: (L,) pyramid level of each location.
    """

    scores_low: Tensor
    scores_high: Tensor
    classes_low: Tensor
    classes_high: Tensor
    inner: Tensor
    outer: Tensor
    level: Tensor


def frame_bounds(
    head: Any, low: HeadOutputs, high: HeadOutputs, n: int, size: tuple[int, int]
) -> Bounds:
    """The bounds of frame n from those of the head's outputs (eval mode)."""
    sizes = [level.shape[-2:] for level in low[0]]
    points = torch.cat(
        head.prior_generator.grid_priors(sizes, low[0][0].dtype, low[0][0].device)
    )

    def flat(kind: list[Tensor]) -> Tensor:
        return torch.cat([level[n].flatten(1).T for level in kind])

    def scores(outputs: HeadOutputs) -> tuple[Tensor, Tensor]:
        by_class = flat(outputs[0]).sigmoid()
        return by_class, by_class * flat(outputs[2]).sigmoid()

    (classes_low, scores_low), (classes_high, scores_high) = scores(low), scores(high)
    inner, outer = (
        head.bbox_coder.decode(points, flat(outputs[1]).clamp(min=0), max_shape=size)
        for outputs in (low, high)
    )
    numbers = [torch.full((h * w,), i) for i, (h, w) in enumerate(sizes)]
    return Bounds(
        scores_low,
        scores_high,
        classes_low,
        classes_high,
        inner,
        outer,
        torch.cat(numbers).to(inner.device),
    )


def lowest_overlap(inner: Tensor, outer: Tensor, fixed: Tensor) -> Tensor:
    """(L, G) at most the overlap of any box between inner and outer with ``fixed``."""
    shared = _intersection(inner, fixed)
    return shared / (_area(outer)[:, None] + _area(fixed)[None] - shared).clamp(1e-6)


def highest_overlap(a: Bounds, i: Tensor, j: Tensor) -> Tensor:
    """(I, J) at least the overlap of any two boxes of locations i (I,) and j (J,)."""
    shared = _intersection(a.outer[i], a.outer[j])
    larger = torch.maximum(_area(a.inner[i])[:, None], _area(a.inner[j])[None])
    return shared / torch.maximum(larger, shared).clamp(1e-6)


def highest_overlap_with(a: Bounds, fixed: Tensor) -> Tensor:
    """(L, G) at least the overlap of any possible box with ``fixed`` ones (G, 4)."""
    shared = _intersection(a.outer, fixed)
    larger = torch.maximum(_area(a.inner)[:, None], _area(fixed)[None])
    return shared / torch.maximum(larger, shared).clamp(1e-6)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    """(A, B) areas shared by boxes (A, 4) and (B, 4)."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    return (high - low).clamp(min=0).prod(dim=2)
