"""What every fusion neck is: {sensor: pyramid} to one pyramid.

Shape letters: N frames, S sensors, C channels, H_l, W_l size of pyramid level l, h, w
size of a gate's grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmengine.model import BaseModule
from torch import Tensor

from perception.models.pyramid import Pyramid, PyramidShape

Levels = Sequence[Sequence[Tensor]]
"""``levels[l][i]``: the (N, C, H_l, W_l) features of sensor i."""


@dataclass(frozen=True)
class FusedFeatures:
    """What a fusion neck returns.

    Attributes:
        features: One (N, C, H_l, W_l) tensor per pyramid level.
        gate_logits: (N, S + 1) or, for a gate per location, (N, S + 1, h, w); class
            i says "sensor i is compromised", class S "none is". None if no gate was
            asked.
        left_out: Of the same shape, to which share each expert counts; None if no gate
            was asked.
    """

    features: Pyramid
    gate_logits: Tensor | None = None
    left_out: Tensor | None = None


class FusionNeck(BaseModule, ABC):
    """Base class of the fusion necks; a subclass writes :meth:`fuse`.

    Args:
        shape: Of the sensors' pyramids and of the fused one.
        init_cfg: MMEngine initialisation config.

    Attributes:
        can_leave_out: Whether it can be told to leave a sensor out of a frame.
    """

    can_leave_out = False

    def __init__(self, shape: PyramidShape, *, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.shape = shape

    @property
    def has_gate(self) -> bool:
        """Whether it says which sensor contradicts the others."""
        return False

    def forward(
        self, pyramids: Mapping[str, Pyramid], leave_out: Tensor | None = None
    ) -> FusedFeatures:
        """Fuse one pyramid per sensor.

        Args:
            pyramids: For each sensor one (N, C, H_l, W_l) tensor per level.
            leave_out: (N,) number of the sensor that must not have any influence on a
                frame, S for none; None lets the neck decide.

        Raises:
            ValueError: If a sensor is missing, a pyramid has the wrong depth, or the
                neck cannot leave sensors out.
        """
        if leave_out is not None and not self.can_leave_out:
            raise ValueError(f"{type(self).__name__} cannot leave a sensor out")
        return self.fuse(self.by_level(pyramids), leave_out)

    @abstractmethod
    def fuse(self, levels: Levels, leave_out: Tensor | None) -> FusedFeatures:
        """As :meth:`forward`, of ``levels[l][i]`` (N, C, H_l, W_l)."""

    def all_experts(self, pyramids: Mapping[str, Pyramid]) -> tuple[Pyramid, ...]:
        """The S + 1 fused pyramids: without each sensor, and of all of them."""
        raise ValueError(f"{type(self).__name__} cannot leave a sensor out")

    def by_level(self, pyramids: Mapping[str, Pyramid]) -> Levels:
        """``levels[l][i]`` of {sensor: pyramid}, in the order of the sensors."""
        missing = [name for name in self.shape.sensors if name not in pyramids]
        if missing:
            raise ValueError(f"fusion lacks the features of {missing}")
        for name in self.shape.sensors:
            if len(pyramids[name]) != self.shape.num_levels:
                raise ValueError(
                    f"fusion expects {self.shape.num_levels} pyramid levels, got "
                    f"{len(pyramids[name])} of {name!r}"
                )
        return [
            [pyramids[name][level] for name in self.shape.sensors]
            for level in range(self.shape.num_levels)
        ]

    def losses(
        self, gate_logits: Tensor | None, odd_sensors: Tensor
    ) -> dict[str, Tensor]:
        """Training losses of the neck's own.

        Args:
            gate_logits: What its gate said in :meth:`forward`.
            odd_sensors: (N,) index of the sensor known to be compromised, S for none.

        Returns:
            Named scalars; empty unless a neck has its own losses.
        """
        return {}
