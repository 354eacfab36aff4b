"""The attacker who knows the defence: every way around a gate, the worst one counts.

Shape letters: N frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from perception.attacks.base import Attack, try_goal
from perception.attacks.build import search_for
from perception.attacks.goals import GateTerm, Goal, Through
from perception.attacks.registry import ATTACKS
from perception.attacks.searches.ensemble import WorstFound
from perception.attacks.target import DoesNotApplyError
from perception.attacks.threats.base import ThreatModel
from perception.attacks.victim import Victim
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
        worst = WorstFound(self.threat, victim)
        goals = self.goals(victim)
        everything = list(range(len(victim.batch)))
        winner = [goals[0]] * len(everything)
        for goal in goals:
            better = worst.pursue(self._search(goal), everything)
            winner = [goal if b else w for b, w in zip(better, winner, strict=True)]
        for goal in goals if self.patience else ():
            frames = [n for n in everything if winner[n] == goal]
            if frames:
                worst.pursue(self._search(goal, again=True), frames)
        return worst.variable

    def _search(self, goal: Goal, *, again: bool = False) -> Attack:
        """The search for one goal; ``again`` from another start and for longer."""
        threat = replace(
            self.threat,
            goal=goal,
            steps=self.threat.steps * (self.patience if again else 1),
            seed=self.threat.seed + again,
        )
        return search_for(threat, self.search)

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
