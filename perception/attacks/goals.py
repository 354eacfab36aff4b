"""What an attacker wants, as a string and as a value.

A goal is named by a string:

* ``detection``: the head's whole training loss on the ground truth;
* ``hide``: lower the class scores inside the ground-truth boxes;
* ``create``: raise the highest class scores outside of them;
* ``rank``: raise the highest scores outside above the highest score inside each box, on
  every pyramid level. What average precision measures is this order;
* ``class:NAME``: have the objects taken for ``NAME``, and for nothing else;
* any of them followed by ``|view``, ``|fused`` or ``|parts``, for necks that choose
  among predictions: the objective of what the attacked sensor's own view says, of the
  fused prediction before it is moved, or the mean over all that are chosen from and
  that the attacked sensor reaches. Where a prediction already lies beyond the others, a
  median or a clamp has no gradient; the prediction itself has;
* any of them followed by ``|none*L``, ``|blame:SENSOR*L`` or ``|expert:SENSOR``:
  gate-aware. L is a factor. ``none`` subtracts L times the cross-entropy of the gate to
  "no sensor lies", ``blame`` to "SENSOR lies" (a clean one), ``expert`` computes the
  objective through the expert that leaves SENSOR out (``expert:none`` through the one
  that sees all), whatever the gate says. Example: ``detection|none*1.0``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_BASES = ("detection", "hide", "create", "rank", "class")
_FACTOR = r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?"


@dataclass(frozen=True)
class Goal:
    """A parsed goal.

    Attributes:
        base: ``detection``, ``hide``, ``create``, ``rank`` or ``class``.
        target: Name of the class for ``class``.
        gate: Name of the sensor to be blamed, ``"none"`` for nobody, None if the gate
            is left alone.
        weight: Factor of the gate's cross-entropy.
        expert: Name of the sensor left out by the expert attacked, ``"none"`` for the
            expert that sees all, None for the whole mixture.
        through: ``"view"``, ``"fused"`` or ``"parts"``, None for what the detector says
            in the end.
    """

    base: str
    target: str | None = None
    gate: str | None = None
    weight: float = 0.0
    expert: str | None = None
    through: str | None = None

    def __str__(self) -> str:
        """The text that :meth:`parse` reads as this goal."""
        parts = [self.base if self.target is None else f"{self.base}:{self.target}"]
        if self.through is not None:
            parts.append(self.through)
        if self.expert is not None:
            parts.append(f"expert:{self.expert}")
        if self.gate is not None:
            blamed = "none" if self.gate == "none" else f"blame:{self.gate}"
            parts.append(f"{blamed}*{self.weight}")
        return "|".join(parts)

    @classmethod
    def parse(cls, text: str) -> Goal:
        """Read a goal's name; raises ValueError if it is not one."""
        base, *parts = text.split("|")
        name, _, target = base.partition(":")
        values: dict[str, Any] = {"base": name, "target": target or None}
        if name not in _BASES or (name == "class") != bool(target):
            raise ValueError(
                f"unknown goal {text!r}; expected detection, hide, create, rank or "
                "class:NAME"
            )
        for part in parts:
            new: dict[str, Any]
            if part in ("view", "fused", "parts"):
                new = {"through": part}
            elif match := re.fullmatch(r"expert:(.+)", part):
                new = {"expert": match[1]}
            elif match := re.fullmatch(rf"(?:blame:(.+)|none)\*({_FACTOR})", part):
                new = {"gate": match[1] or "none", "weight": float(match[2])}
            else:
                raise ValueError(
                    f"goal {text!r}: {part!r} is not none*L, blame:SENSOR*L, "
                    "expert:SENSOR, view, fused or parts"
                )
            if not values.keys().isdisjoint(new):
                raise ValueError(f"goal {text!r}: {part!r} contradicts what precedes")
            values |= new
        return cls(**values)
