"""What every fusion neck is: {sensor: pyramid} to one pyramid.

Shape letters: N frames, S sensors, C channels, H_l, W_l size of pyramid level l.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from mmdet.structures import DetDataSample
from mmengine.model import BaseModule
from torch import Tensor

from perception.models.heads.outputs import HeadOutputs, Pyramid


class FusionOutput(NamedTuple):
    """What a fusion neck returns.

    Attributes:
        features: One (N, C, H_l, W_l) tensor per pyramid level.
        gate_logits: (N, S + 1) or, for a gate per location, (N, S + 1, h, w); class
            i says "sensor i contradicts the others", class S "no sensor does". None
            for necks without a gate.
        views: The head's outputs for each of :meth:`FusionNeck.views`.
        blamed: (N,) number of the sensor left out of a frame's features, S for none;
            None for necks that leave none out as a whole.
        doubt: (N,) above 0 where some sensor lies, whether or not it is known which; if
            not, nothing is believed beyond what most agree on. None for necks without
            such a state.
        experts: The head's outputs for each of :meth:`FusionNeck.alternatives`.
        suspects: (N, S) who may lie where somebody does and nobody is blamed; None
            if it may be anybody.
    """

    features: Pyramid
    gate_logits: Tensor | None = None
    views: tuple[HeadOutputs, ...] = ()
    blamed: Tensor | None = None
    doubt: Tensor | None = None
    experts: tuple[HeadOutputs, ...] = ()
    suspects: Tensor | None = None

    def add_gate_to(self, samples: Sequence[DetDataSample]) -> None:
        """Write on each of N samples what the gate says of its frame.

        ``gate``: (S + 1,) probabilities, the last one of "no sensor lies"; a gate per
        location is averaged, and its map (S + 1, h, w) is kept as ``gate_map``. A gate
        that may be sure of a lie without knowing whose adds ``doubt``, above 0 if it
        is. Nothing without a gate.
        """
        if self.gate_logits is not None:
            gates = self.gate_logits.softmax(dim=1)
            for sample, gate in zip(samples, gates, strict=True):
                if gate.ndim == 3:
                    sample.set_field(gate, "gate_map", dtype=Tensor)
                    gate = gate.mean(dim=(1, 2))
                sample.set_field(gate, "gate", dtype=Tensor)
        if self.doubt is not None:
            for sample, doubt in zip(samples, self.doubt, strict=True):
                sample.set_field(doubt, "doubt", dtype=Tensor)

    def part(self, name: str, sensors: Sequence[str]) -> HeadOutputs | None:
        """What the head said of one part before the neck combined them.

        Args:
            name: A sensor for what it says alone; for a neck with experts "fused" for
                the one that sees all and "without:SENSOR" for the others.
            sensors: Names of the S sensors.

        Returns:
            None if there is no such part.
        """
        if self.views and name in sensors:
            return self.views[sensors.index(name)]
        if self.experts and name == "fused":
            return self.experts[-1]
        left_out = name.removeprefix("without:")
        if self.experts and left_out != name and left_out in sensors:
            return self.experts[sensors.index(left_out)]
        return None


class FusionNeck(BaseModule, ABC):
    """Base class of the fusion necks; a subclass writes :meth:`fuse`.

    Args:
        sensors: Names of the S >= 2 sensors, in the order of the config.
        in_channels: Channels of each sensor's pyramid, the same at every level.
        num_levels: Number of pyramid levels.
        out_channels: Channels of the fused pyramid.
        init_cfg: MMEngine initialisation config.

    Attributes:
        view_loss_weight: Factor of the losses of what the head says of single views.
        expert_loss_weight: The same of experts.
        worst_loss_weight: Factor of the losses of the worst that one lying sensor can
            make of the outputs.
    """

    view_loss_weight = 0.0
    expert_loss_weight = 0.0
    worst_loss_weight = 0.0

    def __init__(
        self,
        *,
        sensors: Sequence[str],
        in_channels: int,
        num_levels: int,
        out_channels: int,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if len(sensors) < 2 or len(set(sensors)) != len(sensors):
            raise ValueError(
                "fusion needs at least two sensors with different names, got "
                f"{list(sensors)}"
            )
        self.sensors = tuple(sensors)
        self.in_channels = in_channels
        self.num_levels = num_levels
        self.out_channels = out_channels
        self._forced: int | None = None  # number of the sensor blamed, S for none

    @property
    def has_gate(self) -> bool:
        """Whether it says which sensor contradicts the others."""
        return False

    @property
    def can_blame(self) -> bool:
        """Whether it can be told which sensor lies, see :meth:`blaming`."""
        return False

    @contextmanager
    def blaming(self, sensor: str | None) -> Iterator[None]:
        """Within this context the neck is told the truth: ``sensor`` lies, or none.

        The upper bound that a gate can reach (the oracle), and a way to attack
        through each expert. No expert reads the sensor blamed.

        Raises:
            ValueError: If there is no such sensor, or the neck cannot be told.
        """
        if not self.can_blame:
            name = type(self).__name__
            raise ValueError(f"{name} cannot be told which sensor lies")
        previous = self._forced
        self._forced = (
            len(self.sensors) if sensor is None else self.index_to_blame(sensor)
        )
        try:
            yield
        finally:
            self._forced = previous

    def index_to_blame(self, sensor: str) -> int:
        """Number of a sensor that is said to lie.

        Raises:
            ValueError: If there is no such sensor.
        """
        if sensor not in self.sensors:
            raise ValueError(f"no sensor {sensor!r} to blame, only {self.sensors}")
        return self.sensors.index(sensor)

    def forward(
        self,
        pyramids: Mapping[str, Sequence[Tensor]],
        views: Sequence[HeadOutputs] = (),
        experts: Sequence[HeadOutputs] = (),
    ) -> FusionOutput:
        """Fuse one pyramid per sensor.

        Args:
            pyramids: For each sensor one (N, C, H_l, W_l) tensor per level.
            views: What the head says of each of :meth:`views`.
            experts: What the head says of each of :meth:`alternatives`.

        Raises:
            ValueError: If a sensor is missing or a pyramid has the wrong depth.
        """
        return self.fuse(self._by_level(pyramids), views, experts)

    def views(self, pyramids: Mapping[str, Sequence[Tensor]]) -> tuple[Pyramid, ...]:
        """One pyramid per sensor for the head to look at before they are fused.

        Empty but for necks that compare what the head says of each sensor alone.
        """
        return ()

    def alternatives(
        self, pyramids: Mapping[str, Sequence[Tensor]]
    ) -> tuple[Pyramid, ...]:
        """Several fused pyramids for the head to look at, instead of one.

        Empty but for necks that compare what the head says of them.
        """
        return ()

    @abstractmethod
    def fuse(
        self,
        levels: Sequence[Sequence[Tensor]],
        views: Sequence[HeadOutputs] = (),
        experts: Sequence[HeadOutputs] = (),
    ) -> FusionOutput:
        """Fuse ``levels[l][i]``, the (N, C, H_l, W_l) features of sensor i."""

    @staticmethod
    def _for_every_frame(levels: Sequence[Sequence[Tensor]], number: int) -> Tensor:
        """(N,) the same number of a sensor for each frame of ``levels``."""
        frames = levels[0][0]
        return torch.full((frames.shape[0],), number, device=frames.device)

    def _by_level(self, pyramids: Mapping[str, Sequence[Tensor]]) -> list[list[Tensor]]:
        missing = [name for name in self.sensors if name not in pyramids]
        if missing:
            raise ValueError(f"fusion lacks the features of {missing}")
        for name in self.sensors:
            if len(pyramids[name]) != self.num_levels:
                raise ValueError(
                    f"fusion expects {self.num_levels} pyramid levels, got "
                    f"{len(pyramids[name])} of {name!r}"
                )
        return [
            [pyramids[name][level] for name in self.sensors]
            for level in range(self.num_levels)
        ]

    def combine(self, fused: HeadOutputs | None, output: FusionOutput) -> HeadOutputs:
        """The detector's outputs from those of the fused pyramid and of each view.

        Args:
            fused: The head's outputs for ``output.features``; None if there are none.
            output: What :meth:`forward` returned.
        """
        raise NotImplementedError(f"{type(self).__name__} returns no views")

    def losses(self, output: FusionOutput, odd_sensors: Tensor) -> dict[str, Tensor]:
        """Training losses of the neck's own.

        Args:
            output: What :meth:`forward` returned.
            odd_sensors: (N,) index of the sensor known to lie, S where none does.

        Returns:
            Named scalars; empty unless a neck has its own losses.
        """
        return {}
