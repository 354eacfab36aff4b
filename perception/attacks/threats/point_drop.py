"""Choosing points: the threat that takes some away, and what all choices share.

Which points go (or, in ``point_add``, come) is a choice of at most ``count`` among
candidates. Each has a score in -1 … 1; those above 0 are chosen, and ``project`` lowers
all scores until at most ``count`` are. A step is one of Frank and Wolfe's: scores move
by the given fraction towards the choice that the gradient likes best.

Shape letters: N frames, P points (of the frame that has most), M candidates, F feature
columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.registry import THREATS
from perception.attacks.threats.points import ExistingPoints
from perception.attacks.threats.splat import View

_CHOSEN = 1e-6  # smallest score of a chosen candidate


@THREATS.register_module()
@dataclass(frozen=True, kw_only=True)
class PointDrop(ExistingPoints):
    """At most ``count`` points of a frame may be taken away.

    The variable is (N, P, 1), each point's score; chosen points are dropped.

    Attributes:
        count: How many points may go.
    """

    count: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(*whole_number(self.count))

    def draw(self, uniform: Tensor, batch: AttackBatch, frame: int) -> Tensor:
        """Random points of those in the image; others would be wasted."""
        points = batch.raw[self.sensor][frame]
        seen = View.of(batch, self.sensor, frame).in_view(points)
        return uniform * seen[:, None]

    def step(
        self, variable: Tensor, gradient: Tensor, fraction: Tensor, batch: AttackBatch
    ) -> Tensor:
        """Towards dropping the ``count`` points whose loss helps most."""
        scores = toward_best(variable[..., 0], gradient[..., 0], fraction, self.count)
        return scores[..., None]

    def project(self, variable: Tensor, batch: AttackBatch) -> Tensor:
        """Choose at most ``count`` points, none of the padding."""
        lengths = [len(cloud) for cloud in batch.raw[self.sensor]]
        limits = torch.tensor(lengths, device=variable.device)
        index = torch.arange(variable.shape[1], device=variable.device)
        real = index < limits[:, None]
        return (limit_chosen(variable[..., 0] * real, self.count) * real)[..., None]

    def cloud(
        self, row: Tensor, batch: AttackBatch, frame: int
    ) -> tuple[Tensor, Tensor | None]:
        """The points; those that stay have a positive score."""
        points = batch.raw[self.sensor][frame]
        score = row[: len(points), 0]
        return points, torch.where(score > 0, -score, _CHOSEN - score)


def whole_number(count: int) -> tuple[bool, str]:
    """Whether ``count`` is a whole number of points, 0 or more, and what to say."""
    fits = count >= 0 and count == int(count)
    return fits, f"count must be a number of points, got {count}"


def limit_chosen(scores: Tensor, count: int) -> Tensor:
    """Scores (N, M) in -1 … 1, all lowered until at most ``count`` are above 0.

    Differences stay, so that a candidate that just missed can catch up.
    """
    scores = scores.clamp(-1, 1)
    if count >= scores.shape[1]:
        return scores
    best = scores.topk(count + 1, dim=1)
    threshold = best.values[:, -1:].clamp(min=0)
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    chosen = chosen.scatter(1, best.indices[:, :count], True) & (scores > 0)
    lowered = scores - threshold
    return torch.where(chosen, lowered.clamp(min=_CHOSEN), lowered.clamp(-1, 0))


def toward_best(
    scores: Tensor, gradient: Tensor, fraction: Tensor, count: int
) -> Tensor:
    """Scores (N, M) moved by ``fraction`` (N,) towards the best choice by gradient."""
    best = gradient.topk(min(count, gradient.shape[1]), dim=1)
    choice = torch.zeros_like(scores)
    choice = choice.scatter(1, best.indices, (best.values > 0).to(scores))
    return torch.lerp(scores, choice, fraction.view(-1, 1))
