"""One search within ascending budgets, so that a larger one is never weaker.

Shape letters: N frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from perception.attacks.base import Attack
from perception.attacks.build import search_for
from perception.attacks.registry import ATTACKS
from perception.attacks.searches.ensemble import WorstFound
from perception.attacks.threats.base import ThreatModel
from perception.attacks.threats.budgets import scaled_budgets
from perception.attacks.victim import Victim


@ATTACKS.register_module()
class NestedBudgets(Attack):
    """Search within smaller budgets first; each search begins where the last ended.

    What a small budget allows, a larger one allows as well, but a search of as many
    steps in so much more room often finds less: robustness that rises with the budget
    is a fault of the attack (Carlini et al., "On Evaluating Adversarial Robustness",
    2019). Here the worst of all budgets counts for every frame, the whole budget being
    searched both as it is without smaller ones and from the worst until then.

    Args:
        threat: What may be changed; its budget is the largest.
        search: Config of the search without ``threat``.
        smaller: Factors of the budget, between 0 and 1, to search first.

    Raises:
        ValueError: If the search is impossible, a factor is, or there is no budget.
    """

    def __init__(
        self,
        threat: ThreatModel,
        *,
        search: Mapping[str, Any],
        smaller: Sequence[float],
    ) -> None:
        super().__init__(threat)
        if not scaled_budgets(threat, 0.5):
            raise ValueError(f"threat {threat.name!r}: has no budget to make smaller")
        if not smaller or not all(0 < factor < 1 for factor in smaller):
            raise ValueError(
                f"threat {threat.name!r}: smaller must be factors between 0 and 1, got "
                f"{list(smaller)}"
            )
        self._search = search_for(threat, search)
        self.smaller = tuple(sorted(smaller))

    def run(self, victim: Victim) -> Tensor:
        """Every budget in turn; each frame's worst variable, (N, …)."""
        worst = WorstFound(self.threat, victim)
        frames = range(len(victim.batch))
        attack = self._search.on(self.threat)
        for stage, factor in enumerate(self.smaller):
            worst.pursue(attack.scaled(factor), frames, warm=stage > 0)
        for warm in (False, True):
            worst.pursue(attack, frames, warm=warm)
        return worst.variable
