"""A target on one batch, as a search sees it: the attacked sensors' inputs to numbers.

Shape letters: N frames, M restarts (or EOT samples) of them side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.target import (
    DirectResponse,
    DoesNotApplyError,
    HasFeatures,
    Response,
    Target,
    predict_leaving_out,
)
from perception.core.parts import LeaveOut
from perception.core.structures import Prediction


class Judge(Protocol):
    """Judges queries, as a goal does."""

    def value(self, query: Query) -> Tensor:
        """(M N,) what the attacker wants high."""


class Victim:
    """A target under attack, reduced to the inputs of the attacked sensors.

    Args:
        target: Within its ``frozen`` context, see :mod:`perception.attacks.target`.
        batch: The N clean frames.
        touched: Sensors whose inputs the attack supplies.
        start: Where searches begin, if only in their first restart: a threat's variable
            (N, …) within the budget. None is the clean input or a random place.
    """

    def __init__(
        self,
        target: Target,
        batch: AttackBatch,
        touched: tuple[str, ...],
        start: Tensor | None = None,
    ) -> None:
        self.target, self.batch, self.touched = target, batch, touched
        self.start = start
        self._side_by_side: dict[tuple[str, int], Any] = {}
        self._kept: dict[str, Any] = {}
        if isinstance(target, HasFeatures):
            with torch.no_grad():
                self._kept = {
                    name: target.encode(name, batch.inputs[name])
                    for name in target.sensors
                    if name not in touched
                }

    def of(self, frames: Sequence[int], start: Tensor | None = None) -> Victim:
        """The same target on some of the frames, where searches begin at ``start``."""
        return Victim(self.target, self.batch.select(frames), self.touched, start)

    def respond(
        self,
        changed: Mapping[str, Tensor],
        frames: Sequence[Any],
        features: dict[str, Any],
        leave_out: LeaveOut | None,
    ) -> Response:
        """The target's response; ``features`` remembers what was encoded."""
        times, target = len(frames) // len(self.batch), self.target
        if leave_out is not None and leave_out.sensor not in (None, *target.sensors):
            raise DoesNotApplyError(
                f"no sensor {leave_out.sensor!r} to leave out, only "
                f"{list(target.sensors)}"
            )
        if isinstance(target, HasFeatures):
            for name in target.sensors:
                if name not in features:
                    features[name] = (
                        target.encode(name, changed[name])
                        if name in changed
                        else self._repeated(name, times)
                    )
            return target.respond(features, frames, leave_out)
        if leave_out is not None:
            raise DoesNotApplyError("the target cannot be told to leave a sensor out")
        return DirectResponse(target, self._inputs(changed, times), frames)

    def predict(
        self,
        changed: Mapping[str, Tensor],
        frames: Sequence[Any],
        leave_out: LeaveOut | None,
    ) -> Sequence[Prediction]:
        """The target's final predictions, without a gradient."""
        inputs = self._inputs(changed, len(frames) // len(self.batch))
        if leave_out is None:
            return self.target.predict(inputs, frames)
        told = predict_leaving_out(self.target, inputs, frames, leave_out)
        if told is None:
            raise DoesNotApplyError("the target cannot be told to leave a sensor out")
        return told

    def _inputs(self, changed: Mapping[str, Tensor], times: int) -> dict[str, Tensor]:
        """All sensors' inputs, those left alone repeated for every restart."""
        return {
            name: changed[name] if name in changed else clean.repeat(times, 1, 1, 1)
            for name, clean in self.batch.inputs.items()
        }

    def _repeated(self, name: str, times: int) -> Any:
        """An untouched sensor's features for every restart, copied once."""
        if times == 1:
            return self._kept[name]
        key = (name, times)
        if key not in self._side_by_side:
            copies = tuple(f.repeat(times, 1, 1, 1) for f in self._kept[name])
            self._side_by_side[key] = copies
        return self._side_by_side[key]


class Query:
    """One question to a victim: its responses to these inputs, each computed once.

    Args:
        victim: Whom to ask.
        changed: Model inputs (M N, C, H, W) of the touched sensors, for the M restarts
            one after the other.

    Attributes:
        changed: As given.
        touched: Names of these sensors.
        sensors: Names of all sensors, in the gate's order.
        samples: The M N samples.
    """

    def __init__(self, victim: Victim, changed: Mapping[str, Tensor]) -> None:
        (total,) = {len(value) for value in changed.values()}
        self.touched = victim.touched
        self.sensors = tuple(victim.target.sensors)
        self.samples = list(victim.batch.samples) * (total // len(victim.batch))
        self._victim, self.changed = victim, changed
        self._features: dict[str, Any] = {}
        self._responses: dict[LeaveOut | None, Response] = {}

    def respond(self, leave_out: LeaveOut | None = None) -> Response:
        """What the target says, its fusion told to leave a sensor out or (None) not."""
        if leave_out not in self._responses:
            response = self._victim.respond(
                self.changed, self.samples, self._features, leave_out
            )
            # Not of this query, which keeps the response: neither would be let go of.
            victim, changed, samples = self._victim, self.changed, self.samples
            response.ask = lambda: victim.predict(changed, samples, leave_out)
            self._responses[leave_out] = response
        return self._responses[leave_out]
