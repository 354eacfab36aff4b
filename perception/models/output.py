"""What a detector makes of N frames, as far as it is asked.

Shape letters: N frames, S sensors, h, w size of a gate's grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mmdet.structures import DetDataSample
from torch import Tensor

from perception.core.parts import BranchPrediction, ExpertPrediction, Part
from perception.models.consensus.base import Aggregator, Verdict
from perception.models.heads.outputs import HeadOutputs
from perception.models.predictions import ExpertPredictions


@dataclass(frozen=True, eq=False)
class DetectorOutput:
    """Branch and expert predictions, and what the aggregator makes of them.

    Attributes:
        sensors: Names of the S sensors.
        branches: What a head says of each sensor alone; empty without an aggregator.
        experts: Fused predictions on demand; None for branches that nothing fuses.
        verdict: Whom the aggregator believes, or what it was told.
        aggregator: Combines the predictions; None if the fused one is the detector's.
    """

    sensors: tuple[str, ...]
    branches: tuple[HeadOutputs, ...]
    experts: ExpertPredictions | None
    verdict: Verdict
    aggregator: Aggregator | None

    @cached_property
    def outputs(self) -> HeadOutputs:
        """The detector's raw outputs, before boxes are made of them."""
        if self.aggregator is None:
            assert self.experts is not None
            return self.experts.leaving_out(self.attributed)
        return self.aggregator.combine(self.verdict, self.branches, self.experts)

    @property
    def attributed(self) -> Tensor | None:
        """(N,) sensor left out, S for none; None where the fusion decides by itself."""
        return self.verdict.attributed

    @property
    def alarm(self) -> Tensor | None:
        """(N,) above 0 where some sensor is compromised; None if it cannot tell."""
        return self.verdict.alarm

    @property
    def gate_logits(self) -> Tensor | None:
        """(N, S + 1), or (N, S + 1, h, w) per location; None without a gate.

        Class i says "sensor i is compromised", class S "none is".
        """
        if self.verdict.gate_logits is not None or self.experts is None:
            return self.verdict.gate_logits
        return self.experts.fused(self.attributed).gate_logits

    @property
    def parts(self) -> tuple[Part, ...]:
        """What the prediction is combined of; empty if of nothing."""
        if self.aggregator is None:
            return ()
        branches = [BranchPrediction(name) for name in self.sensors]
        if self.experts is None:
            return tuple(branches)
        others = self.sensors if self.aggregator.asks_all_experts else ()
        return (*branches, *(ExpertPrediction(name) for name in (None, *others)))

    def part(self, part: Part) -> HeadOutputs:
        """What one part says, before the aggregator combines them.

        The expert that leaves none out is, if not all experts are asked, the one that
        the gate has chosen.

        Raises:
            ValueError: If nothing is combined of such a part.
        """
        if part not in self.parts:
            raise ValueError(f"the detector combines no {part}")
        if isinstance(part, BranchPrediction):
            return self.branches[self.sensors.index(part.sensor)]
        assert self.aggregator is not None and self.experts is not None
        if not self.aggregator.asks_all_experts:
            return self.experts.leaving_out(self.attributed)
        return self.experts.all()[(*self.sensors, None).index(part.left_out)]

    def bounds(self, compromised: str) -> tuple[HeadOutputs, HeadOutputs]:
        """See :meth:`Aggregator.bounds`, of clean inputs; by the sensor's name.

        Raises:
            ValueError: If there is no aggregator, or no such sensor.
        """
        if self.aggregator is None:
            raise ValueError("a detector without an aggregator has no bounds")
        number = self.sensors.index(compromised)
        return self.aggregator.bounds(self.branches, self.experts, number)

    def write_gate(self, samples: Sequence[DetDataSample]) -> None:
        """Write on each of N samples what the gate says of its frame.

        ``gate``: (S + 1,) probabilities, the last one of "no sensor is compromised"; a
        gate per location is averaged, and its map (S + 1, h, w) is kept as
        ``gate_map``. A gate that may be sure of an attack without knowing on whom adds
        ``alarm``, above 0 if it is. Nothing without a gate.
        """
        if self.gate_logits is not None:
            gates = self.gate_logits.softmax(dim=1)
            for sample, gate in zip(samples, gates, strict=True):
                if gate.ndim == 3:
                    sample.set_field(gate, "gate_map", dtype=Tensor)
                    gate = gate.mean(dim=(1, 2))
                sample.set_field(gate, "gate", dtype=Tensor)
        if self.alarm is not None:
            for sample, alarm in zip(samples, self.alarm, strict=True):
                sample.set_field(alarm, "alarm", dtype=Tensor)
