"""What every attack is, and what it may not do.

An attack searches (:meth:`Attack.run`); the base class brings the result back into
the budget and proves that no sensor outside the threat model was touched, whatever the
search did.

Shape letters: N frames, R restarts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.goals import Goal
from perception.attacks.objectives import Victim, frozen
from perception.attacks.threats.base import ThreatModel


@dataclass(frozen=True)
class AttackResult:
    """What an attack did to N frames.

    Attributes:
        inputs: {sensor: (N, C, H, W)} model inputs of all sensors, attacked.
        variable: What the attacker chose, within the budget; frames along dim 0.
        value: (N,) the goal's objective that it reached.
        damage: (N,) detection loss of the whole detector on the attacked inputs.
    """

    inputs: dict[str, Tensor]
    variable: Tensor
    value: Tensor
    damage: Tensor


class Attack(ABC):
    """Searches for the worst input within a threat model.

    Args:
        threat: What may be changed and how hard to try. Subclasses keep nothing that
            depends on its budget: a copy may get a smaller one.
    """

    def __init__(self, threat: ThreatModel) -> None:
        self.threat = threat
        self.goal = Goal.parse(threat.goal)

    def __call__(self, detector: Any, batch: AttackBatch) -> AttackResult:
        """Attack one batch.

        Args:
            detector: A ``MultiModalDetector``; its state is left as it was.
            batch: The clean frames, see ``prepare_batch``.

        Returns:
            The attacked inputs: inside the budget, other sensors bit-identical.

        Raises:
            ValueError: If the detector cannot be attacked in this way.
            RuntimeError: If a sensor outside the threat model was changed.
        """
        threat = self.threat
        threat.check(detector.sensors)
        before = {name: value.clone() for name, value in batch.inputs.items()}
        with frozen(detector):
            victim = Victim(detector, batch, threat.touched)
            variable, changed = self._find(victim)
            with torch.no_grad():
                damage = value = victim.objective(changed, Goal("detection"))
                if self.goal != Goal("detection"):
                    value = victim.objective(changed, self.goal)
        if stray := set(changed) - set(threat.touched):
            raise RuntimeError(f"{threat.name} rendered other sensors: {sorted(stray)}")
        inputs = {
            name: changed[name].detach() if name in changed else clean
            for name, clean in batch.inputs.items()
        }
        for name, clean in before.items():
            if not _same(batch.inputs[name], clean):
                raise RuntimeError(
                    f"{threat.name} changed the clean input of {name!r} in place"
                )
        return AttackResult(inputs, variable, value, damage)

    def craft(self, detector: Any, batch: AttackBatch) -> dict[str, Tensor]:
        """The attacked sensors' inputs alone: a training step needs nothing else.

        Within the budget as :meth:`__call__`, but without its proofs and its judgement
        of the damage, which cost two passes through the detector.
        """
        with frozen(detector):
            victim = Victim(detector, batch, self.threat.touched)
            _, changed = self._find(victim)
        return {name: value.detach() for name, value in changed.items()}

    def _find(self, victim: Victim) -> tuple[Tensor, dict[str, Tensor]]:
        """The variable found, within the budget, and what it makes of the inputs."""
        variable = self.threat.project(self.run(victim).detach(), victim.batch)
        with torch.no_grad():
            return variable, self.threat.render(variable, victim.batch)

    @abstractmethod
    def run(self, victim: Victim) -> Tensor:
        """Search; the variable (N, …) it returns is projected by the caller."""


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether all values are equal, NaN being equal to NaN."""
    return torch.equal(one, other) or torch.allclose(
        one, other, rtol=0, atol=0, equal_nan=True
    )


class Search:
    """R restarts of a search over N frames, side by side in one batch.

    Args:
        attack: Whose threat model and goal to use.
        victim: The detector and its frames.
    """

    def __init__(self, attack: Attack, victim: Victim) -> None:
        self.threat, self.goal, self.victim = attack.threat, attack.goal, victim
        self.frames = len(victim.batch)
        self.batch = victim.batch.repeat(self.threat.restarts)
        self.best: Tensor | None = None
        self.best_value = torch.full((len(self.batch),), -torch.inf)

    def start(self, *, random: bool) -> Tensor:
        """First variables (R N, …): random ones, or the clean one."""
        clean_batch = self.victim.batch
        restarts = range(self.threat.restarts)
        if random:
            starts = [self.threat.random(clean_batch, r) for r in restarts]
        else:
            starts = [self.threat.clean(clean_batch) for _ in restarts]
        return torch.cat(starts)

    def ascent(self, variable: Tensor) -> tuple[Tensor, Tensor]:
        """Objective (R N,) and its gradient (R N, …); remembers the best so far."""
        variable = variable.detach().requires_grad_()
        gradient = None
        with torch.enable_grad():
            value = self._objective(variable)
            total = value.sum()
        if total.requires_grad:
            (gradient,) = torch.autograd.grad(total, variable, allow_unused=True)
        if gradient is None:  # e.g. an expert that does not see the attacked sensor
            gradient = torch.zeros_like(variable)
        self.remember(variable.detach(), value.detach())
        return value.detach(), gradient.nan_to_num(0.0, 0.0, 0.0)

    def evaluate(self, variable: Tensor) -> Tensor:
        """Objective (R N,) without a gradient; remembers the best so far."""
        with torch.no_grad():
            value = self._objective(variable)
        self.remember(variable, value)
        return value

    def _objective(self, variable: Tensor) -> Tensor:
        """(R N,) objective, the mean over the threat's draws."""
        changed = self.threat.render_draws(variable, self.batch)
        value = self.victim.objective(changed, self.goal)
        return value.view(-1, len(variable)).mean(dim=0)

    def step(self, variable: Tensor, direction: Tensor, fraction: Tensor) -> Tensor:
        """Ascend along ``direction`` by ``fraction`` (R N,) of the budget, project."""
        moved = self.threat.step(variable, direction, fraction, self.batch)
        return self.threat.project(moved, self.batch)

    def remember(self, variable: Tensor, value: Tensor) -> None:
        """Keep each frame's and restart's best variable.

        A value that is NaN is worse than any other; where all are, the last one counts.
        """
        value = nan_is_least(value)
        if self.best is None:
            self.best, self.best_value = variable.clone(), value
            return
        better = (value > self.best_value) | self.best_value.isneginf()
        self.best[better] = variable[better]
        self.best_value = torch.where(better, value, self.best_value)

    def result(self) -> Tensor:
        """Each frame's best variable over all restarts, (N, …)."""
        assert self.best is not None, "nothing was evaluated"
        by_restart = self.best_value.view(-1, self.frames)
        chosen = by_restart.argmax(dim=0) * self.frames
        return self.best[chosen + torch.arange(self.frames, device=chosen.device)]


def nan_is_least(value: Tensor) -> Tensor:
    """Objectives with minus infinity in place of NaN, which compares as nothing."""
    return value.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)


class UnfitGoalError(ValueError):
    """The detector lacks what a goal speaks of, such as a gate."""


@torch.no_grad()
def try_goal(victim: Victim, threat: ThreatModel, goal: str) -> None:
    """Try a goal on the clean frames.

    Raises:
        UnfitGoalError: If the detector cannot be attacked by it.
        ValueError: If it is no goal.
    """
    parsed = Goal.parse(goal)
    clean = threat.render(threat.clean(victim.batch), victim.batch)
    try:
        victim.objective(clean, parsed)
    except ValueError as error:
        raise UnfitGoalError(str(error)) from error
