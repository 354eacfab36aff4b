"""Several sensors attacked together.

Shape letters: N frames, D numbers of all variables of a frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.registry import THREATS
from perception.attacks.threats.base import ThreatModel


@THREATS.register_module()
@dataclass(frozen=True, kw_only=True)
class JointThreat(ThreatModel):
    """One attacker who holds several threats at once, each with its own budget.

    The single-sensor guarantee does not hold here: this is the out-of-scope attack
    that belongs beside the single-sensor ones in a report.

    Attributes:
        parts: The threats; their own steps, restarts, goals and seeds give way to
            the joint ones. None of them may average over random views (``eot``).
        sensor: Filled in: the attacked sensors' names joined by "+".
    """

    sensor: str = field(init=False)
    parts: Sequence[ThreatModel] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(bool(self.parts), "parts must not be empty")
        self.require(
            len(self.touched) == sum(len(part.touched) for part in self.parts),
            "two parts attack the same sensor",
        )
        for part in self.parts:
            self.require(
                getattr(part, "eot", None) is None,
                "a joint search sees one view of every part; "
                f"{part.name!r} must have no eot",
            )
        object.__setattr__(self, "sensor", "+".join(self.touched))
        seeded = tuple(replace(part, seed=self.seed) for part in self.parts)
        object.__setattr__(self, "parts", seeded)

    @property
    def touched(self) -> tuple[str, ...]:
        """Sensors of all parts, each once."""
        return tuple(dict.fromkeys(s for part in self.parts for s in part.touched))

    def check(self, sensors: Mapping[str, Any]) -> None:
        """Check every part."""
        for part in self.parts:
            part.check(sensors)

    def clean(self, batch: AttackBatch) -> Tensor:
        """The parts' clean variables side by side, (N, D)."""
        return _join([part.clean(batch) for part in self.parts])

    def random(self, batch: AttackBatch, restart: int) -> Tensor:
        """The parts' random variables side by side, (N, D)."""
        return _join([part.random(batch, restart) for part in self.parts])

    def step(
        self, variable: Tensor, gradient: Tensor, fraction: Tensor, batch: AttackBatch
    ) -> Tensor:
        """Each part steps by the same fraction of its own budget."""
        pairs = zip(
            self.parts,
            self._split(variable, batch),
            self._split(gradient, batch),
            strict=True,
        )
        return _join([part.step(v, g, fraction, batch) for part, v, g in pairs])

    def project(self, variable: Tensor, batch: AttackBatch) -> Tensor:
        """Each part projects its own."""
        pieces = zip(self.parts, self._split(variable, batch), strict=True)
        return _join([part.project(piece, batch) for part, piece in pieces])

    def render(self, variable: Tensor, batch: AttackBatch) -> dict[str, Tensor]:
        """The inputs of all parts' sensors."""
        inputs: dict[str, Tensor] = {}
        for part, piece in zip(self.parts, self._split(variable, batch), strict=True):
            inputs |= part.render(piece, batch)
        return inputs

    def _split(self, variable: Tensor, batch: AttackBatch) -> list[Tensor]:
        shapes = [part.clean(batch).shape for part in self.parts]
        widths = [int(torch.Size(shape[1:]).numel()) for shape in shapes]
        pieces = variable.split(widths, dim=1)
        return [p.reshape(-1, *s[1:]) for p, s in zip(pieces, shapes, strict=True)]


def _join(variables: Sequence[Tensor]) -> Tensor:
    return torch.cat([variable.flatten(1) for variable in variables], dim=1)
