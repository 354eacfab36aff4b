"""Several searches one after the other; the worst of them counts for each frame.

Shape letters: N frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from perception.attacks.base import Attack, nan_is_least
from perception.attacks.build import search_for
from perception.attacks.goals import Goal
from perception.attacks.registry import ATTACKS
from perception.attacks.target import DoesNotApplyError
from perception.attacks.threats.base import ThreatModel
from perception.attacks.victim import Query, Victim

_OF_THREAT = ("goal", "restarts", "seed")


class WorstFound:
    """The worst variable that any search has found for each frame.

    Args:
        threat: Whose goal judges, whatever a search ascends.
        victim: The target on all N frames.

    Attributes:
        variable: (N, …) the worst so far; the clean one at first.
        value: (N,) its objective, minus infinity at first.
    """

    def __init__(self, threat: ThreatModel, victim: Victim) -> None:
        self.threat, self.victim = threat, victim
        self.variable = threat.clean(victim.batch).clone()
        self.value = torch.full((len(victim.batch),), -torch.inf)

    def pursue(
        self, attack: Attack, frames: Sequence[int], *, warm: bool = False
    ) -> list[bool]:
        """Run a search on some frames and keep what is worse.

        Args:
            attack: What to run; its threat model may have another goal.
            frames: Their numbers among the N.
            warm: Begin where the worst was found instead of at the clean input.

        Returns:
            For each of these frames whether it was made worse.
        """
        index, victim = torch.tensor(frames), self.victim
        start = None
        if warm:
            start = self.variable[index.to(self.variable.device)]
        if warm or len(frames) < len(victim.batch):
            victim = victim.of(frames, start)
        variable = self.threat.project(attack.run(victim).detach(), victim.batch)
        with torch.no_grad():
            rendered = self.threat.render(variable, victim.batch)
            value = self.threat.goal.value(Query(victim, rendered))
        value = nan_is_least(value).cpu()
        # Where nothing but NaN was found yet, the latest: never the clean input.
        better = (value > self.value[index]) | self.value[index].isneginf()
        self.value[index[better]] = value[better]
        chosen = index[better].to(self.variable.device)
        self.variable[chosen] = variable[better.to(variable.device)]
        return better.tolist()


@ATTACKS.register_module()
class Ensemble(Attack):
    """The best of several searches, frame by frame, as AutoAttack is for classifiers.

    Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of
    diverse parameter-free attacks", ICML 2020. Members differ in what they ascend, how
    they search and where they begin; the threat model's goal judges all of them. A
    member that does not apply to the target (no gate, no bounds) is left out. There is
    no "misclassified, done" for a detector: a frame is done when ``patience`` members
    in a row have raised its objective by less than ``gain``.

    Args:
        threat: What may be changed and how hard to try.
        members: Configs of searches without ``threat``. Besides their own fields they
            may have ``goal``, ``restarts`` and ``seed`` in place of the threat model's,
            ``effort``, a factor of its steps, and ``warm=True`` to begin where the
            worst was found.
        patience: Members without effect after which a frame is done; 0: none is.
        gain: Share by which a member must raise the objective to have had an effect.

    Raises:
        ValueError: If there is no member, or one of them is impossible.
    """

    def __init__(
        self,
        threat: ThreatModel,
        *,
        members: Sequence[Mapping[str, Any]],
        patience: int = 0,
        gain: float = 0.01,
    ) -> None:
        super().__init__(threat)
        if not members:
            raise ValueError(f"threat {threat.name!r}: an ensemble needs a member")
        if patience < 0 or gain < 0:
            raise ValueError(
                f"threat {threat.name!r}: patience and gain must not be negative, got "
                f"{patience} and {gain}"
            )
        self._members = tuple(dict(member) for member in members)
        self.patience, self.gain = patience, gain
        for member in self._members:
            self._member(member)  # an impossible one shows now

    def run(self, victim: Victim) -> Tensor:
        """Every member in turn; each frame's worst variable, (N, …)."""
        worst = WorstFound(self.threat, victim)
        idle = torch.zeros(len(victim.batch), dtype=torch.long)
        lacking: DoesNotApplyError | None = None
        for config in self._members:
            member, warm = self._member(config)
            busy = (idle < self.patience) | (self.patience == 0)
            frames = busy.nonzero().flatten().tolist()
            before = worst.value.clone()
            if not frames:
                break
            try:
                worst.pursue(member, frames, warm=warm)
            except DoesNotApplyError as error:
                lacking = error
                continue
            least = before + self.gain * before.abs()
            idle = torch.where((worst.value > least) | before.isneginf(), 0, idle + 1)
        if lacking is not None and worst.value.isneginf().all():
            raise lacking
        return worst.variable

    def _member(self, config: Mapping[str, Any]) -> tuple[Attack, bool]:
        """A member's search within the present threat model, and whether it is warm."""
        own = dict(config)
        warm = bool(own.pop("warm", False))
        changes = {name: own.pop(name) for name in _OF_THREAT if name in own}
        if isinstance(changes.get("goal"), str):
            changes["goal"] = Goal.parse(changes["goal"])
        changes["steps"] = max(round(own.pop("effort", 1.0) * self.threat.steps), 1)
        attack = search_for(replace(self.threat, **changes), own)
        if warm and getattr(attack, "random_start", True):
            raise ValueError(
                f"threat {self.threat.name!r}: a warm {type(attack).__name__} needs "
                "random_start=False"
            )
        return attack, warm
