"""What a detector says of N frames: predictions of its parts, and what follows of them.

Shape letters: N frames, S sensors, C channels, H_l, W_l size of pyramid level l, h, w
size of a gate's grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

from mmdet.structures import DetDataSample
from torch import Tensor, nn

from perception.core.parts import BranchPrediction, ExpertPrediction, Part
from perception.core.structures import SensorSpec
from perception.models.consensus.base import Aggregator
from perception.models.consensus.gate import Verdict
from perception.models.consensus.intervals import Bounds
from perception.models.fusion.base import FusedFeatures, FusionNeck
from perception.models.heads.fcos_3d import said_alone
from perception.models.heads.outputs import HeadOutputs, run, run_stacked
from perception.models.measured import MeasuredDepths
from perception.models.pyramid import Pyramid, PyramidShape


class BranchProjections(nn.ModuleDict):
    """Each sensor's features, by a 1x1 convolution per level as a head knows them."""

    def __init__(self, shape: PyramidShape) -> None:
        super().__init__(
            {
                name: nn.ModuleList(
                    nn.Conv2d(shape.in_channels, shape.out_channels, 1)
                    for _ in range(shape.num_levels)
                )
                for name in shape.sensors
            }
        )

    def forward(self, pyramids: Mapping[str, Pyramid]) -> list[Pyramid]:
        """{sensor: (N, C, H_l, W_l) per level} to one pyramid per sensor given."""
        return [
            tuple(
                project(level)
                for project, level in zip(
                    cast(nn.ModuleList, projections), pyramids[name], strict=True
                )
            )
            for name, projections in self.items()
            if name in pyramids
        ]


@dataclass(frozen=True, eq=False, kw_only=True)
class DetectorOutput:
    """A detector's predictions; what is fused is computed when it is first asked.

    Attributes:
        pyramids: {sensor: (N, C, H_l, W_l) per level}, of S sensors.
        branches: What a head says of each sensor alone; empty without an aggregator.
        verdict: Whom the aggregator believes, or what it was told.
        aggregator: Combines the predictions; None if the fused one is the detector's.
        fusion: Fuses the pyramids; None for one sensor, or where nothing is fused.
        head: Looks at what is fused.
        measured: What sensors measure of depth, if the head is told.
        specs: What the sensors deliver.
        samples: The N frames, see :meth:`MultiModalDetector.fuse`.
    """

    pyramids: Mapping[str, Pyramid]
    branches: tuple[HeadOutputs, ...]
    verdict: Verdict
    aggregator: Aggregator | None
    fusion: FusionNeck | None
    head: nn.Module
    measured: MeasuredDepths = MeasuredDepths({})  # noqa: RUF009 (frozen)
    specs: Mapping[str, SensorSpec] = field(default_factory=dict)
    samples: Sequence = ()

    @cached_property
    def outputs(self) -> HeadOutputs:
        """The detector's raw outputs, before boxes are made of them."""
        if self.aggregator is not None:
            return self.aggregator.combine(self.verdict, self)
        return cast(HeadOutputs, self.fused)

    @cached_property
    def fused(self) -> HeadOutputs | None:
        """What the head says of the features fused without the sensors left out."""
        features = self._features
        if features is None:
            return None
        seen = self.measured.beside(features.features, self._seen(features))
        said = run(self.head, seen)
        if self.fusion is not None or len(self.specs) != 1:
            return said
        (spec,) = self.specs.values()
        return said_alone(self.head, spec, said, self.samples)

    @cached_property
    def experts(self) -> tuple[HeadOutputs, ...]:
        """Predictions without each of the S sensors, and of all, from one pass."""
        fusion = cast(FusionNeck, self.fusion)
        asked = [
            self.measured.beside(
                features, {name: name != left_out for name in self.sensors}
            )
            for features, left_out in zip(
                fusion.all_experts(self.pyramids), (*self.sensors, None), strict=True
            )
        ]
        return run_stacked(self.head, asked)

    @cached_property
    def _features(self) -> FusedFeatures | None:
        if self.fusion is not None:
            told = self.attributed if self.fusion.can_leave_out else None
            return self.fusion(self.pyramids, told)
        if len(self.pyramids) > 1:
            return None
        (pyramid,) = self.pyramids.values()
        return FusedFeatures(pyramid)

    def _seen(self, fused: FusedFeatures) -> dict[str, bool | Tensor]:
        """To which share what is fused sees each sensor."""
        told, shares = self.attributed, fused.left_out
        if told is not None and self.fusion is not None and self.fusion.can_leave_out:
            apart = [told != number for number in range(len(self.sensors))]
            kept = [one[:, None, None, None].float() for one in apart]
        elif shares is not None:
            kept = [1 - one for one in shares.split(1, dim=1)][:-1]
            kept = [one if one.ndim == 4 else one[..., None, None] for one in kept]
        else:
            return dict.fromkeys(self.sensors, True)
        return dict(zip(self.sensors, kept, strict=True))

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of the S sensors."""
        return tuple(self.pyramids)

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
        if self.verdict.gate_logits is not None or self._features is None:
            return self.verdict.gate_logits
        return self._features.gate_logits

    @property
    def parts(self) -> tuple[Part, ...]:
        """What the prediction is combined of; empty if of nothing."""
        if self.aggregator is None:
            return ()
        left_out: tuple[str | None, ...] = () if self.fusion is None else (None,)
        if self.aggregator.asks_all_experts:
            left_out = (None, *self.sensors)
        branches = (BranchPrediction(name) for name in self.sensors)
        return (*branches, *(ExpertPrediction(name) for name in left_out))

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
        if not cast(Aggregator, self.aggregator).asks_all_experts:
            return cast(HeadOutputs, self.fused)
        return self.experts[(*self.sensors, None).index(part.left_out)]

    def bounds(self, compromised: str) -> Bounds:
        """See :meth:`Aggregator.bounds`, of clean inputs; by the sensor's name.

        Raises:
            ValueError: If there is no aggregator, or no such sensor.
        """
        if self.aggregator is None:
            raise ValueError("a detector without an aggregator has no bounds")
        return self.aggregator.bounds(self, self.sensors.index(compromised))

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
