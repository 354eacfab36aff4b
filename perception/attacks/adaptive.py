"""The attacker who knows the defence: every way around a gate, the worst one counts.

Shape letters: N frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from perception.attacks.base import Attack
from perception.attacks.goals import Goal
from perception.attacks.objectives import Victim
from perception.attacks.registry import ATTACKS
from perception.attacks.threat_model import ThreatModel


@ATTACKS.register_module()
class Adaptive(Attack):
    """Runs a search for each gate-aware goal and keeps, per frame, the most damage.

    The goals are the threat model's own; with the gate told that nobody lies and, for
    each clean sensor, that it does, both at every weight; through each expert; and, for
    necks that combine predictions, through each of them.
    Goals that the detector cannot be attacked by (no gate, no experts) are left out, so
    that for plain fusion this is the search alone. The detection loss of the whole
    detector is the judge.

    Args:
        threat: What may be changed and how hard to try; each goal gets all its steps.
        search: Config of the attack that pursues each goal, without ``threat``.
        weights: Factors of the gate's cross-entropy.
    """

    def __init__(
        self,
        threat: ThreatModel,
        *,
        search: Mapping[str, Any],
        weights: Sequence[float] = (0.1, 1.0, 10.0),
    ) -> None:
        super().__init__(threat)
        self.search, self.weights = dict(search), tuple(weights)

    def run(self, victim: Victim) -> Tensor:
        """Every goal in turn; each frame's most damaging variable, (N, …)."""
        threat, batch = self.threat, victim.batch
        best, most = threat.clean(batch).clone(), None
        for goal in self.goals(victim):
            variable = self._searcher(goal).run(victim).detach()
            variable = threat.project(variable, batch)
            with torch.no_grad():
                rendered = threat.render(variable, batch)
                damage = victim.objective(rendered, Goal("detection"))
            better = torch.ones_like(damage) > 0 if most is None else damage > most
            best[better] = variable[better]
            most = damage if most is None else torch.maximum(most, damage)
        return best

    def goals(self, victim: Victim) -> list[str]:
        """The goals to try on this detector, the threat model's own first."""
        base, sensors = self.threat.goal, list(victim.detector.branches)
        honest = [name for name in sensors if name not in self.threat.touched]
        gates = ["none", *(f"blame:{name}" for name in honest)]
        ways = [f"{gate}*{weight:g}" for gate in gates for weight in self.weights]
        ways += [f"expert:{name}" for name in ["none", *honest]]
        ways += ["view", "fused"]
        tried = [f"{base}|{way}" for way in ways]
        return [base] + [goal for goal in tried if self._applies(victim, goal)]

    def _applies(self, victim: Victim, goal: str) -> bool:
        """Whether the detector has the gate or the experts that a goal speaks of."""
        with torch.no_grad():
            try:
                victim.objective(
                    self.threat.render(self.threat.clean(victim.batch), victim.batch),
                    Goal.parse(goal),
                )
            except ValueError:
                return False
        return True

    def _searcher(self, goal: str) -> Attack:
        fields = dict(self.search)
        attack_class = ATTACKS.get(fields.pop("type"))
        if attack_class is None:
            raise ValueError(f"adaptive search: unknown type {self.search['type']!r}")
        return attack_class(replace(self.threat, goal=goal), **fields)
