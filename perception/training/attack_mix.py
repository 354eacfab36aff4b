"""Which attack a training step meets: drawn from a mix, with varied strength.

A detector trained against one fixed attack learns that attack, and its gate raises no
alarm when it meets another. Steps, step length, budget and goal are therefore drawn
anew every time.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perception.attacks import PGD, Goal, Perturbation
from perception.attacks.searches.interval import IntervalPGD
from perception.corruptions import build_perturbation


@dataclass(frozen=True)
class Variation:
    """How gradient attacks vary, each a range (low, high) drawn from uniformly.

    Attributes:
        steps: Gradient steps, both ends included.
        step_fraction: Length of a step as a fraction of the budget.
        budget: Factor of the threat model's budget.
        goals: What the attacker wants, one of them at random; those that need a gate
            are for detectors with one.
    """

    steps: tuple[int, int] = (2, 5)
    step_fraction: tuple[float, float] = (0.25, 0.75)
    budget: tuple[float, float] = (0.5, 1.0)
    goals: tuple[str, ...] = ("detection",)

    def __post_init__(self) -> None:
        for name in ("steps", "step_fraction", "budget"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be 0 < low <= high, got {(low, high)}")
        self.parsed  # noqa: B018 (raises where a text is no goal)

    @property
    def parsed(self) -> list[Goal]:
        """The goals as values."""
        return [Goal.parse(text) for text in self.goals]


class AttackMix:
    """Draws attacks and corruptions.

    Args:
        attacks: For each name an attack or corruption as in
            ``configs/_base_/attacks``, with an optional ``weight`` (1 by default), how
            often it is drawn.
        variation: How those of type ``PGD`` vary, and ``IntervalPGD`` but for its goal;
            the others are as configured, but for the budget during a warm-up.
        gate: Whether the detector has a gate that can be attacked.

    Raises:
        ValueError: If an attack touches more than one sensor and there is a gate, which
            learns of one at a time; if a weight is not positive, or all goals need a
            gate that is not there.
    """

    def __init__(
        self,
        attacks: Mapping[str, Mapping[str, Any]],
        *,
        variation: Variation,
        gate: bool,
    ) -> None:
        configs = {name: dict(config) for name, config in attacks.items()}
        weights = [config.pop("weight", 1.0) for config in configs.values()]
        if not configs or min(weights) <= 0:
            raise ValueError(f"training needs attacks of positive weight: {weights}")
        self.attacks = [
            build_perturbation(name, config) for name, config in configs.items()
        ]
        for attack in self.attacks:
            if gate and len(attack.touched) != 1:
                raise ValueError(
                    f"attack {attack.name!r} touches {attack.touched}; a gate learns "
                    "of one sensor at a time"
                )
        self.shares = np.array(weights) / sum(weights)
        self.variation = variation
        self.goals = [goal for goal in variation.parsed if gate or not goal.needs_gate]
        if not self.goals:
            raise ValueError(f"all goals need a gate: {', '.join(variation.goals)}")

    def draw(self, random: np.random.Generator, strength: float = 1.0) -> Perturbation:
        """One of them.

        Args:
            random: Where the choice comes from.
            strength: Factor of the budget, for a warm-up: of ``eps``, ``radius_m`` or
                ``count``. Those without any, such as corruptions and printed patches,
                stay as they are.
        """
        attack = self.attacks[random.choice(len(self.attacks), p=self.shares)]
        vary = self.variation
        steps = int(random.integers(vary.steps[0], vary.steps[1] + 1))
        fraction = float(random.uniform(*vary.step_fraction))
        factor = float(random.uniform(*vary.budget)) * strength
        goal = self.goals[random.integers(len(self.goals))]
        if not isinstance(attack, PGD | IntervalPGD):
            return attack if strength == 1 else attack.scaled(strength)
        varied = copy(attack)
        varied.threat = replace(attack.scaled(factor).threat, steps=steps)
        varied.step_fraction = fraction
        if isinstance(attack, PGD):
            varied.threat = replace(varied.threat, goal=goal)
        return varied

    def goals_of(self, attack: Perturbation) -> list[Goal]:
        """The goals that one of ``attacks`` may be drawn with."""
        return self.goals if type(attack) is PGD else [attack.goal]
