"""What an attacker wants: an objective, of which part, and what the gate shall say.

Configs and the command line name a goal by a text, which :meth:`Goal.parse` alone
reads: an objective (``detection``, ``hide``, ``create``, ``rank``, ``class:NAME``; for
boxes in metres ``displace``, ``displace:all``, ``heading``), followed by any of

* ``|branch``, ``|fused`` or ``|parts``, for fusions that choose among predictions: the
  objective of what the attacked sensor says by itself, of the prediction of all sensors
  before it is moved, or the mean over all that are chosen from and that the attacked
  sensor reaches. Where a prediction already lies beyond the others, a median or a clamp
  has no gradient; the prediction itself has;
* ``|none*L`` or ``|attribute:SENSOR*L``: subtract L times the cross-entropy of the gate
  to "nobody is compromised", or to "SENSOR is" (a benign one);
* ``|expert:SENSOR`` or ``|expert:none``: the objective through the expert that leaves
  SENSOR out, or through the one that sees all, whatever the gate says.

Shape letters: N frames, S sensors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from perception.attacks.objectives import DetectionLoss, Objective
from perception.attacks.registry import OBJECTIVES, class_of
from perception.attacks.target import DoesNotApplyError, Response
from perception.attacks.victim import Query
from perception.core.gate_state import NOBODY
from perception.core.parts import BranchPrediction, ExpertPrediction, LeaveOut, Part

_FACTOR = r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?"


class Through(Enum):
    """Which predictions an objective judges."""

    BRANCH = "branch"
    FUSED = "fused"
    PARTS = "parts"


@dataclass(frozen=True)
class GateTerm:
    """What the gate shall say.

    Attributes:
        sensor: The sensor it shall attribute its alarm to; None: nobody.
        weight: Factor of the cross-entropy that is subtracted.
    """

    sensor: str | None
    weight: float

    def loss(self, response: Response, sensors: tuple[str, ...]) -> Tensor:
        """(N,) cross-entropy of the gate, mean over locations; that of the alarm too.

        Raises:
            DoesNotApplyError: If there is no gate or no such sensor.
        """
        logits = response.gate_logits
        if logits is None:
            raise DoesNotApplyError(
                f"goal {self} speaks of a gate; the target has none"
            )
        if self.sensor not in (None, *sensors):
            raise DoesNotApplyError(
                f"goal {self}: no sensor {self.sensor!r}, only {list(sensors)}"
            )
        number = len(sensors) if self.sensor is None else sensors.index(self.sensor)
        loss = -logits.log_softmax(dim=1)[:, number]
        loss = loss.reshape(len(loss), -1).mean(dim=1)
        if self.sensor is None and response.alarm is not None:
            loss = loss + F.softplus(response.alarm)
        return loss

    def __str__(self) -> str:
        wanted = NOBODY if self.sensor is None else f"attribute:{self.sensor}"
        return f"{wanted}*{self.weight!r}".removesuffix(".0")


@dataclass(frozen=True)
class Goal:
    """What an attacker ascends.

    Attributes:
        objective: What is judged.
        through: Which predictions; None: the target's final one.
        leave_out: What the fusion is told; None leaves it to the gate.
        gate: What the gate shall say; None leaves it alone.
    """

    objective: Objective = DetectionLoss()  # noqa: RUF009 (frozen)
    through: Through | None = None
    leave_out: LeaveOut | None = None
    gate: GateTerm | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is an objective of the final prediction and nothing else."""
        return self.through is None and self.leave_out is None and self.gate is None

    @property
    def needs_gate(self) -> bool:
        """Whether only targets with a gate or experts can be attacked so."""
        return self.gate is not None or self.leave_out is not None

    def value(self, query: Query) -> Tensor:
        """(N,) what the attacker wants high.

        Raises:
            DoesNotApplyError: If the target lacks what this speaks of.
        """
        response = query.respond(self.leave_out)
        judged = [
            self.objective.value(response, part, query.samples)
            for part in self._parts(response, query.touched)
        ]
        value = judged[0] if len(judged) == 1 else torch.stack(judged).mean(0)
        if self.gate is not None:
            # An expert attacked by itself does not ask the gate.
            told = self.gate.loss(query.respond(), query.sensors)
            value = value - self.gate.weight * told
        return value

    def _parts(
        self, response: Response, touched: tuple[str, ...]
    ) -> Sequence[Part | None]:
        """What is judged, of what the target chooses from."""
        if self.through is None:
            return [None]
        everybody = ExpertPrediction(None)
        own: list[Part] = [BranchPrediction(name) for name in touched]
        fused: list[Part] = [everybody]
        wanted: list[Part] = {
            Through.BRANCH: own[:1],
            Through.FUSED: fused,
            Through.PARTS: own + fused,
        }[self.through]
        if missing := [part for part in wanted if part not in response.parts]:
            raise DoesNotApplyError(f"goal {self}: the target has no part {missing[0]}")
        if self.through is Through.PARTS:
            wanted = wanted + [
                part
                for part in response.parts
                if isinstance(part, ExpertPrediction)
                and part != everybody
                and (part.left_out,) != touched
            ]
        return wanted

    def __str__(self) -> str:
        """The text that :meth:`parse` reads as this goal."""
        parts = [self.objective.text]
        if self.through is not None:
            parts.append(self.through.value)
        if self.leave_out is not None:
            parts.append(f"expert:{self.leave_out.sensor or NOBODY}")
        if self.gate is not None:
            parts.append(str(self.gate))
        return "|".join(parts)

    @classmethod
    def parse(cls, text: str) -> Goal:
        """Read a goal's text; raises ValueError if it is not one."""
        base, *parts = text.split("|")
        name, _, argument = base.partition(":")
        try:
            if base.endswith(":"):
                raise TypeError("a name is missing")
            objective = class_of(name, OBJECTIVES, "goal")
            values: dict[str, Any] = {
                "objective": objective(argument) if argument else objective()
            }
        except (TypeError, ValueError) as error:
            known = ", ".join(OBJECTIVES.module_dict)
            raise ValueError(
                f"unknown goal {text!r}; expected one of {known} (class:NAME)"
            ) from error
        for part in parts:
            new: dict[str, Any]
            if part in [one.value for one in Through]:
                new = {"through": Through(part)}
            elif match := re.fullmatch(r"expert:(.+)", part):
                new = {"leave_out": LeaveOut(None if match[1] == NOBODY else match[1])}
            elif match := re.fullmatch(
                rf"(?:attribute:(.+)|{NOBODY})\*({_FACTOR})", part
            ):
                new = {"gate": GateTerm(match[1], float(match[2]))}
            else:
                raise ValueError(
                    f"goal {text!r}: {part!r} is not none*L, attribute:SENSOR*L, "
                    "expert:SENSOR, branch, fused or parts"
                )
            if not values.keys().isdisjoint(new):
                raise ValueError(f"goal {text!r}: {part!r} contradicts what precedes")
            values |= new
        return cls(**values)
