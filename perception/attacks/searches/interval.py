"""PGD with a surrogate gradient for aggregators that bound what one sensor can do.

Shape letters: N frames, R restarts, D draws of a threat.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from perception.attacks.base import Attack, Search
from perception.attacks.goals import GateTerm
from perception.attacks.objectives import Objective
from perception.attacks.registry import ATTACKS
from perception.attacks.target import DoesNotApplyError, Reach, Response
from perception.attacks.threats.base import ThreatModel
from perception.attacks.threats.budgets import frame_norm
from perception.attacks.victim import Query, Victim
from perception.core.parts import BranchPrediction, ExpertPrediction


@ATTACKS.register_module()
class IntervalPGD(Attack):
    """Pushes all predictions that a clamp chooses from, as far as the clamp rewards it.

    An aggregator that moves the answer into the interval of what benign sensors say
    has no gradient where the answer lies beyond it, and one that takes a median none to
    what it does not choose: PGD is blind there, and goals such as ``|parts`` push every
    part by its own loss for ever. Here each output number gets a direction and a weight
    from the gradient of the objective with respect to the *final* prediction. Every
    part that the attacked sensor reaches (its own branch's prediction, each expert that
    sees it) is pushed that way, but only until it lies beyond what the benign
    predictions allow: nothing more is rewarded. That is a backward pass differentiable
    approximation of the clamp (Athalye, Carlini and Wagner, "Obfuscated Gradients Give
    a False Sense of Security", ICML 2018). A term keeps the gate's alarm quiet. What
    counts is the objective of the final prediction, whatever was ascended.

    On targets that bound nothing it is PGD with that term, or without a gate plain PGD.

    Args:
        threat: What may be changed and how hard to try; its goal an objective alone.
        step_fraction: Length of a step as a fraction of the budget.
        momentum: Factor of the previous direction.
        quiet: Factor of the gate's cross-entropy to "no sensor is compromised".
        random_start: Start at random in every restart; otherwise only from the second
            restart on. At a random start a gate may leave the attacked sensor out.

    Raises:
        ValueError: If the goal speaks of a gate, experts or parts, or a number is
            impossible.
    """

    def __init__(
        self,
        threat: ThreatModel,
        *,
        step_fraction: float = 0.05,
        momentum: float = 0.75,
        quiet: float = 0.03,
        random_start: bool = False,
    ) -> None:
        super().__init__(threat)
        if not self.goal.is_plain:
            raise ValueError(
                f"threat {threat.name!r}: this search chooses gate, experts and parts "
                f"itself; its goal must name none, got {str(threat.goal)!r}"
            )
        if not (step_fraction > 0 and quiet >= 0):
            raise ValueError(
                f"threat {threat.name!r}: step_fraction must be above 0 and quiet not "
                f"below, got {step_fraction} and {quiet}"
            )
        self.step_fraction, self.momentum = step_fraction, momentum
        self.quiet, self.random_start = quiet, random_start

    def run(self, victim: Victim) -> Tensor:
        """Ascend ``threat.steps`` times from every restart."""
        search = Search(self, victim)
        variable = search.start(random=self.random_start)
        if not self.random_start and self.threat.restarts > 1:
            drawn = search.start(random=True)
            variable = torch.cat([variable[: search.frames], drawn[search.frames :]])
        fraction = torch.full((len(variable),), self.step_fraction).to(variable)
        direction = torch.zeros_like(variable)
        surrogate = _Surrogate(self.goal.objective, self.quiet)
        for _ in range(self.threat.steps):
            _, gradient = search.ascent(variable, surrogate)
            direction = self.momentum * direction + gradient / frame_norm(gradient)
            variable = search.step(variable, direction, fraction)
        search.evaluate(variable)
        return search.result()


class _Surrogate:
    """What is ascended instead of an objective that a clamp has cut off.

    Args:
        objective: Of the final prediction.
        quiet: Factor of the gate's term.
    """

    def __init__(self, objective: Objective, quiet: float) -> None:
        self.objective = objective
        self.told = GateTerm(None, quiet)
        self._reach: list[Reach] | None = None  # of benign predictions: it stays

    def value(self, query: Query) -> Tensor:
        """(N,) differentiable in the attacked sensors' inputs."""
        response = query.respond()
        try:
            value = self._pushed(response, query)
        except DoesNotApplyError:  # nothing is bounded
            value = self.objective.value(response, None, query.samples)
        if self.told.weight and response.gate_logits is not None:
            value = value - self.told.weight * self.told.loss(response, query.sensors)
        return value

    def _pushed(self, response: Response, query: Query) -> Tensor:
        parts = [
            part
            for part in response.parts
            if (isinstance(part, BranchPrediction) and part.sensor in query.touched)
            or (
                isinstance(part, ExpertPrediction) and (part.left_out,) != query.touched
            )
        ]
        if not parts:
            raise DoesNotApplyError("the target combines no parts")
        slopes = self._slopes(response, query.samples)
        if self._reach is None:
            self._reach = self._reach_of(response, query.touched)
        values = [
            _until(number, slope, reach).reshape(len(slope), -1).sum(dim=1)
            for part in parts
            for number, slope, reach in zip(
                response.numbers(part), slopes, self._reach, strict=True
            )
        ]
        return torch.stack(values).sum(dim=0) / len(parts)

    def _slopes(self, response: Response, samples: Sequence) -> list[Tensor]:
        """Gradient of the objective to each number of the final prediction."""
        final = [number.detach().requires_grad_() for number in response.numbers()]
        judged = response.with_numbers(final)
        value = self.objective.value(judged, None, samples).sum()
        slopes = torch.autograd.grad(value, final, allow_unused=True)
        return [
            torch.zeros_like(number) if slope is None else slope
            for number, slope in zip(final, slopes, strict=True)
        ]

    @staticmethod
    @torch.no_grad()
    def _reach_of(response: Response, touched: tuple[str, ...]) -> list[Reach]:
        """What the attacked sensor can reach; everything, if there are several."""
        if len(touched) == 1:
            return list(response.reach(touched[0]))
        return [
            Reach(torch.full_like(one, -torch.inf), torch.full_like(one, torch.inf))
            for one in response.numbers()
        ]


def _until(number: Tensor, slope: Tensor, reach: Reach) -> Tensor:
    """``slope * number`` that stops growing where the number leaves what is reached."""
    limited = torch.where(
        slope > 0,
        torch.minimum(number, reach.high),
        torch.maximum(number, reach.low),
    )
    return slope * limited
