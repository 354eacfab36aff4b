"""Projected gradient ascent that finds its own step size.

Shape letters: N frames, R restarts.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from perception.attacks.base import Attack, Search
from perception.attacks.registry import ATTACKS
from perception.attacks.threats.base import ThreatModel
from perception.attacks.threats.budgets import frame_norm
from perception.attacks.victim import Victim


@ATTACKS.register_module()
class APGD(Attack):
    """Auto-PGD: large steps first, halved where they stop paying.

    Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of
    diverse parameter-free attacks", ICML 2020, algorithm 1. Steps go through the threat
    model, so that any budget and norm will do; every frame and restart has a step size
    of its own. Ours is made for the few steps that detectors are attacked with: it
    begins with half a budget instead of two, and steps along the running sum of
    normalised gradients, as our PGD does (``smoothing`` 0 is the paper's).

    Args:
        threat: What may be changed and how hard to try.
        first_step: Length of the first steps as a fraction of the budget.
        momentum: The paper's alpha: weight of the new step against the previous one.
        smoothing: Factor of the previous direction in the running sum.
        progress: The paper's rho: share of steps that must ascend between checkpoints.
        random_start: Start at random; otherwise at the clean input.

    Raises:
        ValueError: If one of these numbers is impossible.
    """

    def __init__(
        self,
        threat: ThreatModel,
        *,
        first_step: float = 0.5,
        momentum: float = 0.75,
        smoothing: float = 0.75,
        progress: float = 0.75,
        random_start: bool = True,
    ) -> None:
        super().__init__(threat)
        shares = 0 < momentum <= 1 and 0 <= progress <= 1 and 0 <= smoothing <= 1
        if not (first_step > 0 and shares):
            raise ValueError(
                "APGD needs first_step > 0 and momentum, smoothing and progress up to "
                f"1, got {first_step}, {momentum}, {smoothing}, {progress}"
            )
        self.first_step, self.momentum = first_step, momentum
        self.smoothing = smoothing
        self.progress, self.random_start = progress, random_start

    def run(self, victim: Victim) -> Tensor:
        """Ascend ``threat.steps`` times from every restart."""
        search = Search(self, victim)
        now = search.start(random=self.random_start)
        before = now
        value, gradient = search.ascent(now)
        direction = gradient / frame_norm(gradient)
        best_direction = direction.clone()
        pace = _Pace(value, self.first_step, self.progress)
        stops = checkpoints(self.threat.steps)
        for k in range(1, self.threat.steps):
            target = search.step(now, direction, pace.fraction)
            alpha = self.momentum if k > 1 else 1.0
            moved = now + alpha * (target - now) + (1 - alpha) * (now - before)
            before, now = now, self.threat.project(moved, search.batch)
            previous_best = search.best_value
            value, gradient = search.ascent(now)
            direction = self.smoothing * direction + gradient / frame_norm(gradient)
            improved = value > previous_best
            best_direction[improved] = direction[improved]
            pace.note(value)
            if k in stops:
                back = pace.check(search.best_value)
                assert search.best is not None
                now, before = now.clone(), before.clone()
                now[back] = search.best[back]
                before[back] = search.best[back]
                direction[back] = best_direction[back]
        search.evaluate(search.step(now, direction, pace.fraction))
        return search.result()


class _Pace:
    """Step size of every frame and restart, all tensors (R N,).

    Args:
        value: Objective at the start.
        first_step: Step size at the start, as a fraction of the budget.
        progress: Share of steps that must ascend between checkpoints.
    """

    def __init__(self, value: Tensor, first_step: float, progress: float) -> None:
        self.fraction = torch.full_like(value, first_step)
        self.progress = progress
        self.last, self.best_at_check = value, value
        self.ascended = torch.zeros_like(value)
        self.steps = 0
        self.halved = torch.zeros_like(value, dtype=torch.bool)

    def note(self, value: Tensor) -> None:
        """Count one step that led to ``value``."""
        self.ascended += value > self.last
        self.last = value
        self.steps += 1

    def check(self, best: Tensor) -> Tensor:
        """At a checkpoint: halve where it did not pay; those go back to their best.

        Halves if too few steps ascended, or if neither step size nor best value
        changed since the last checkpoint.
        """
        slow = self.ascended < self.progress * self.steps
        stuck = ~self.halved & (best <= self.best_at_check)
        back = slow | stuck
        self.fraction = torch.where(back, self.fraction / 2, self.fraction)
        self.halved, self.best_at_check = back, best
        self.ascended = torch.zeros_like(self.ascended)
        self.steps = 0
        return back


def checkpoints(steps: int) -> set[int]:
    """After which of so many steps the step size is looked at."""
    last, now = 0.0, 0.22
    found = set()
    while now <= 1:
        found.add(math.ceil(now * steps - 1e-9))  # 0.41 * 100 is a little above 41
        last, now = now, now + max(now - last - 0.03, 0.06)
    return found
