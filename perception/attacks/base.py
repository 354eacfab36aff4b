"""What every attack is, and what it may not do.

An attack searches (:meth:`Attack.run`); the base class brings the result back into
the budget and proves that no sensor outside the threat model was touched, whatever the
search did.

Shape letters: N frames, R restarts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.goals import Goal
from perception.attacks.target import (
    DoesNotApplyError,
    HasFeatures,
    NoGradientError,
    Target,
    frozen,
)
from perception.attacks.threats.base import ThreatModel
from perception.attacks.threats.budgets import scaled
from perception.attacks.victim import Judge, Query, Victim
from perception.core.structures import SensorSpec


@dataclass(frozen=True)
class Perturbed:
    """What a perturbation did to N frames.

    Attributes:
        inputs: {sensor: (N, C, H, W)} model inputs of all sensors, perturbed.
        detection_loss: (N,) of the whole target on these inputs; None for targets
            without losses.
        value: (N,) the goal's objective that an attack reached; for corruptions, which
            have no goal, the detection loss.
        variable: What an attacker chose, within the budget; frames along dim 0.
    """

    inputs: dict[str, Tensor]
    detection_loss: Tensor | None
    value: Tensor | None
    variable: Tensor | None = None


class Perturbation(ABC):
    """A named change of some sensors' inputs: an attack, or a corruption.

    A subclass finds the change (:meth:`find`); this class proves that no other sensor
    changed by a bit, whatever the subclass did.

    Attributes:
        name: Its name everywhere.
    """

    name: str

    @property
    @abstractmethod
    def touched(self) -> tuple[str, ...]:
        """Sensors whose model input may differ from the clean one."""

    @property
    def goal(self) -> Goal:
        """What its success is measured by."""
        return Goal()

    @abstractmethod
    def check(self, sensors: Mapping[str, SensorSpec]) -> None:
        """Raise ValueError if a target with these sensors cannot be so perturbed."""

    @abstractmethod
    def find(self, victim: Victim) -> tuple[Tensor | None, dict[str, Tensor]]:
        """What was chosen, if anything, and the touched sensors' (N, C, H, W)."""

    def prove(  # noqa: B027 (some promise nothing)
        self, batch: AttackBatch, changed: Mapping[str, Tensor]
    ) -> None:
        """Raise an error unless ``changed`` is what a subclass promises besides."""

    def scaled(self, factor: float) -> Perturbation:
        """The same with ``factor`` times its budget, if it has one."""
        return self

    def __call__(self, target: Target, batch: AttackBatch) -> Perturbed:
        """Perturb one batch.

        Args:
            target: See :mod:`perception.attacks.target`; its state is left as it was.
            batch: The clean frames.

        Returns:
            The perturbed inputs: other sensors bit-identical.

        Raises:
            ValueError: If the target cannot be perturbed in this way.
            RuntimeError: If another sensor was changed.
        """
        self.check(target.sensors)
        with torch.inference_mode(False), frozen(target):
            batch = batch.outside_inference()
            before = {name: value.clone() for name, value in batch.inputs.items()}
            victim = Victim(target, batch, self.touched)
            variable, changed = self.find(victim)
            with torch.no_grad():
                loss = value = detection_loss(victim, changed)
                if self.goal != Goal():
                    value = self.goal.value(Query(victim, changed))
        if stray := set(changed) - set(self.touched):
            raise RuntimeError(f"{self.name} rendered other sensors: {sorted(stray)}")
        inputs = {
            name: changed[name].detach() if name in changed else clean
            for name, clean in batch.inputs.items()
        }
        for name, clean in before.items():
            if not same(batch.inputs[name], clean):
                raise RuntimeError(
                    f"{self.name} changed the clean input of {name!r} in place"
                )
        self.prove(batch, changed)
        return Perturbed(inputs, loss, value, variable)

    def craft(self, target: Target, batch: AttackBatch) -> dict[str, Tensor]:
        """The touched sensors' inputs alone: a training step needs nothing else.

        As :meth:`__call__`, but without its proofs and its judgement of the detection
        loss, which cost two passes through the target.
        """
        with torch.inference_mode(False), frozen(target):
            batch = batch.outside_inference()
            _, changed = self.find(Victim(target, batch, self.touched))
        return {name: value.detach() for name, value in changed.items()}


class Attack(Perturbation):
    """Searches for the worst input within a threat model.

    Args:
        threat: What may be changed and how hard to try. Subclasses keep nothing that
            depends on its budget: a copy may get a smaller one.
    """

    def __init__(self, threat: ThreatModel) -> None:
        self.threat = threat

    @property
    def name(self) -> str:  # type: ignore[override]
        """The threat model's."""
        return self.threat.name

    @property
    def touched(self) -> tuple[str, ...]:
        """The threat model's."""
        return self.threat.touched

    @property
    def goal(self) -> Goal:
        """The threat model's."""
        return self.threat.goal

    def check(self, sensors: Mapping[str, SensorSpec]) -> None:
        """The threat model's."""
        self.threat.check(sensors)

    def scaled(self, factor: float) -> Attack:
        """The same with ``factor`` times the threat model's budget, if it has one."""
        return self.on(scaled(self.threat, factor))

    def on(self, threat: ThreatModel) -> Attack:
        """The same search within another threat model."""
        other = copy(self)
        other.threat = threat
        return other

    def find(self, victim: Victim) -> tuple[Tensor | None, dict[str, Tensor]]:
        """The variable found, within the budget, and what it makes of the inputs."""
        variable = self.threat.project(self.run(victim).detach(), victim.batch)
        with torch.no_grad():
            return variable, self.threat.render(variable, victim.batch)

    @abstractmethod
    def run(self, victim: Victim) -> Tensor:
        """Search; the variable (N, …) it returns is projected by the caller."""


def detection_loss(victim: Victim, changed: Mapping[str, Tensor]) -> Tensor | None:
    """(N,) loss of the whole target on these inputs; None if it has no losses."""
    try:
        return Goal().value(Query(victim, changed))
    except DoesNotApplyError:
        return None


def same(one: Tensor, other: Tensor) -> bool:
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
        """First variables (R N, …): random ones, or the victim's start for all.

        A victim with a start of its own has the first restart begin there.
        """
        clean_batch, start = self.victim.batch, self.victim.start
        restarts = range(self.threat.restarts)
        if random:
            drawn = [self.threat.random(clean_batch, r) for r in restarts]
            return torch.cat(drawn if start is None else [start, *drawn[1:]])
        if start is None:
            start = self.threat.clean(clean_batch)
        return torch.cat([start for _ in restarts])

    def ascent(
        self, variable: Tensor, surrogate: Judge | None = None
    ) -> tuple[Tensor, Tensor]:
        """Objective (R N,) and its gradient (R N, …); remembers the best so far.

        Args:
            variable: Where (R N, …).
            surrogate: Take the gradient of this instead; the goal stays the judge.

        Raises:
            NoGradientError: If there should be a gradient and is none.
        """
        gradient = None
        with torch.inference_mode(False), torch.enable_grad():
            variable = variable.clone() if variable.is_inference() else variable
            variable = variable.detach().requires_grad_()
            changed = self.threat.render_draws(variable, self.batch)
            query = Query(self.victim, changed)
            climbed = value = self._mean(self.goal.value(query), variable)
            if surrogate is not None:  # both judge the same responses
                climbed = surrogate.value(query)
            if climbed.requires_grad:
                (gradient,) = torch.autograd.grad(
                    climbed.sum(), variable, allow_unused=True
                )
            if gradient is None:
                check_graph(self.victim, changed, self.goal)
                # On purpose: e.g. an expert that does not see the attacked sensor.
                gradient = torch.zeros_like(variable)
        self.remember(variable.detach(), value.detach())
        return value.detach(), gradient.nan_to_num(0.0, 0.0, 0.0)

    def evaluate(self, variable: Tensor) -> Tensor:
        """Objective (R N,) without a gradient; remembers the best so far."""
        with torch.no_grad():
            changed = self.threat.render_draws(variable, self.batch)
            value = self._mean(self.goal.value(Query(self.victim, changed)), variable)
        self.remember(variable, value)
        return value

    @staticmethod
    def _mean(value: Tensor, variable: Tensor) -> Tensor:
        """(R N,) mean over the threat's draws of (D R N,) objectives."""
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


def check_graph(victim: Victim, changed: Mapping[str, Tensor], goal: Goal) -> None:
    """Find out why an objective has no gradient to the attacked sensors.

    That may be so on purpose: the goal is told to leave them out, or the target does so
    by itself. It is a fault if the goal judges what they say alone, if their features
    have no graph, or if the target's answer has none to any sensor.

    Args:
        victim: Who was asked.
        changed: The inputs, with a graph to what the attacker controls.
        goal: What was ascended.

    Raises:
        NoGradientError: If it is a fault.
    """
    live = {name: x for name, x in changed.items() if x.requires_grad}
    if not live or (goal.leave_out is not None and goal.leave_out.sensor in live):
        return
    target, what = victim.target, f"goal {str(goal)!r} has no gradient to {[*live]}: "
    if isinstance(target, HasFeatures):
        for name, x in live.items():
            if not any(feature.requires_grad for feature in target.encode(name, x)):
                raise NoGradientError(f"{what}the features of {name} are detached")
    if goal.through is not None:
        raise NoGradientError(f"{what}what they say alone is detached")
    clean = {name: victim.batch.inputs[name].clone() for name in target.sensors}
    inputs = {name: value.requires_grad_() for name, value in clean.items()}
    whole = Victim(target, victim.batch, tuple(inputs))
    value = Goal(goal.objective).value(Query(whole, inputs)).sum()
    given: tuple[Tensor | None, ...] = ()
    if value.requires_grad:
        given = torch.autograd.grad(value, [*inputs.values()], allow_unused=True)
    if all(gradient is None for gradient in given):
        raise NoGradientError(
            f"{what}the target answers without a graph to any sensor (it detaches, or "
            "computes under torch.no_grad or in NumPy)"
        )


def nan_is_least(value: Tensor) -> Tensor:
    """Objectives with minus infinity in place of NaN, which compares as nothing."""
    return value.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)


@torch.no_grad()
def try_goal(victim: Victim, goal: Goal) -> None:
    """Try a goal on the clean frames.

    Raises:
        DoesNotApplyError: If the target cannot be attacked by it.
    """
    inputs = victim.batch.inputs
    goal.value(Query(victim, {name: inputs[name] for name in victim.touched}))
