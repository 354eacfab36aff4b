"""The attacker who knows the defence: every way around a gate, the worst one counts.

Shape letters: N frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from perception.attacks.base import Attack, nan_is_least, try_goal
from perception.attacks.build import search_for
from perception.attacks.goals import GateTerm, Goal, Through
from perception.attacks.registry import ATTACKS
from perception.attacks.target import DoesNotApplyError
from perception.attacks.threats.base import ThreatModel
from perception.attacks.victim import Query, Victim
from perception.core.parts import LeaveOut

WAYS = ("none", "attribute", "expert", "branch", "fused", "parts")


@ATTACKS.register_module()
class Adaptive(Attack):
    """Runs a search for each gate-aware goal, the best one again and for longer.

    The goals are the threat model's own; with the gate to say that nobody is
    compromised and, for each benign sensor, that it is, both at every weight; through
    each expert; and, for fusions that combine predictions, through each of them and
    through all together. Goals that the target cannot be attacked by (no gate, no
    experts) are left out, so that for plain fusion this is the search alone, for
    longer. Then every frame is attacked once more with the goal that was worst for it,
    from another start and with ``patience`` times the steps: a gate that holds for 20
    steps may fall at 60.
    What the threat model's goal says of the whole detector is the judge throughout: its
    detection loss, or with ``rank`` the order of its scores, which average precision
    measures. Neither goal is always the worse one: report the lower AP of the two.

    Args:
        threat: What may be changed and how hard to try; each goal gets all its steps.
        search: Config of the attack that pursues each goal, without ``threat``.
        weights: Factors of the gate's cross-entropy.
        ways: Which of the ways around a gate to try: ``none`` and ``attribute``
            (what the gate is told), ``expert``, ``branch``, ``fused``, ``parts``.
        patience: How many times as long the best goal is pursued in the end; 0: not.

    Raises:
        ValueError: If the threat model's goal already is a way around a gate, or the
            search's type or a field of it is unknown.
    """

    def __init__(
        self,
        threat: ThreatModel,
        *,
        search: Mapping[str, Any],
        weights: Sequence[float] = (0.1, 1.0, 10.0),
        ways: Sequence[str] = WAYS,
        patience: int = 3,
    ) -> None:
        super().__init__(threat)
        if unknown := set(ways) - set(WAYS):
            raise ValueError(f"ways must be some of {WAYS}, got {sorted(unknown)}")
        if not self.goal.is_plain:
            raise ValueError(
                f"threat {threat.name!r}: the adaptive attack tries every gate, expert "
                f"and part itself; its goal must name none, got {str(threat.goal)!r}"
            )
        if patience < 0:
            raise ValueError(f"patience must not be negative, got {patience}")
        self.search, self.weights = dict(search), tuple(weights)
        self.ways, self.patience = tuple(ways), patience
        search_for(threat, self.search)  # an impossible one shows now

    def run(self, victim: Victim) -> Tensor:
        """Every goal in turn; each frame's worst variable, (N, …)."""
        batch = victim.batch
        best = self.threat.clean(batch).clone()
        highest = torch.full((len(batch),), -torch.inf)
        goals = self.goals(victim)
        winner = [goals[0]] * len(batch)
        everything = list(range(len(batch)))
        for goal in goals:
            better = self._pursue(victim, everything, goal, best, highest)
            winner = [goal if b else w for b, w in zip(better, winner, strict=True)]
        for goal in goals if self.patience else ():
            frames = [n for n in everything if winner[n] == goal]
            if frames:
                self._pursue(victim, frames, goal, best, highest, again=True)
        return best

    def _pursue(
        self,
        victim: Victim,
        frames: Sequence[int],
        goal: Goal,
        best: Tensor,
        highest: Tensor,
        *,
        again: bool = False,
    ) -> list[bool]:
        """Attack some frames; what is worse goes into ``best`` and ``highest``."""
        if len(frames) < len(victim.batch):
            chosen = victim.batch.select(frames)
            victim = Victim(victim.target, chosen, victim.touched)
        threat = replace(
            self.threat,
            goal=goal,
            steps=self.threat.steps * (self.patience if again else 1),
            seed=self.threat.seed + again,
        )
        variable = search_for(threat, self.search).run(victim).detach()
        variable = threat.project(variable, victim.batch)
        with torch.no_grad():
            rendered = threat.render(variable, victim.batch)
            value = nan_is_least(self.goal.value(Query(victim, rendered))).cpu()
        index = torch.tensor(frames)
        # Where nothing but NaN was found yet, the latest: never the clean input.
        better = (value > highest[index]) | highest[index].isneginf()
        highest[index[better]] = value[better]
        best[index[better].to(best.device)] = variable[better.to(variable.device)]
        return better.tolist()

    def goals(self, victim: Victim) -> list[Goal]:
        """The goals to try on this target, the threat model's own first."""
        base, sensors = self.threat.goal, list(victim.target.sensors)
        benign = [name for name in sensors if name not in self.threat.touched]
        of_way: dict[str, list[Goal]] = {
            way: [
                replace(base, gate=GateTerm(name, weight))
                for name in names
                for weight in self.weights
            ]
            for way, names in (("none", [None]), ("attribute", benign))
        }
        of_way["expert"] = [
            replace(base, leave_out=LeaveOut(name)) for name in [None, *benign]
        ]
        of_way |= {one.value: [replace(base, through=one)] for one in Through}
        tried = [goal for way in WAYS if way in self.ways for goal in of_way[way]]
        return [base] + [goal for goal in tried if self._applies(victim, goal)]

    def _applies(self, victim: Victim, goal: Goal) -> bool:
        """Whether the target has the gate or the experts that a goal speaks of."""
        try:
            try_goal(victim, goal)
        except DoesNotApplyError:
            return False
        return True
