"""What an aggregator chooses from: predictions of branches and of experts.

Shape letters: N frames, S sensors, C channels, H_l, W_l size of pyramid level l.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import cast

from torch import Tensor, nn

from perception.models.fusion.base import FusedFeatures, FusionNeck
from perception.models.heads.outputs import HeadOutputs, run, run_stacked
from perception.models.pyramid import Pyramid, PyramidShape


class BranchPredictor(nn.ModuleDict):
    """Each sensor's features, projected by 1x1 convolutions, for a head to look at.

    One list of convolutions per sensor, one per level.

    Args:
        shape: Of the sensors' pyramids and of what the head knows.
    """

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

    def forward(
        self, pyramids: Mapping[str, Pyramid], head: nn.Module
    ) -> tuple[HeadOutputs, ...]:
        """The head's outputs for each sensor alone, from one pass over all of them."""
        projected = [
            tuple(
                project(level)
                for project, level in zip(
                    cast(nn.ModuleList, projections), pyramids[name], strict=True
                )
            )
            for name, projections in self.items()
        ]
        return run_stacked(head, projected)


class ExpertPredictions:
    """The head's outputs for fused features, each computed when it is first asked.

    Args:
        pyramids: {sensor: (N, C, H_l, W_l) per level}.
        fusion: Fuses them; None for a single sensor.
        head: Looks at what was fused.
    """

    def __init__(
        self, pyramids: Mapping[str, Pyramid], fusion: FusionNeck | None, head: nn.Module
    ) -> None:
        self._pyramids, self._fusion, self._head = pyramids, fusion, head
        self._fused: dict[int | None, tuple[Tensor | None, FusedFeatures]] = {}
        self._outputs: dict[int | None, HeadOutputs] = {}

    def all(self) -> tuple[HeadOutputs, ...]:
        """The S + 1 predictions without each sensor and of all, from one pass."""
        return self._all

    @cached_property
    def _all(self) -> tuple[HeadOutputs, ...]:
        fusion = cast(FusionNeck, self._fusion)
        return run_stacked(self._head, fusion.all_experts(self._pyramids))

    def fused(self, numbers: Tensor | None) -> FusedFeatures:
        """Features without sensor ``numbers[n]`` (N,) in frame n, S for none.

        None leaves that to the fusion, as does a fusion that cannot be told.
        """
        key = None if numbers is None else id(numbers)
        if key not in self._fused:  # the numbers are kept: nothing else gets their id
            self._fused[key] = (numbers, self._fuse(numbers))
        return self._fused[key][1]

    def leaving_out(self, numbers: Tensor | None) -> HeadOutputs:
        """What the head says of :meth:`fused`."""
        key = None if numbers is None else id(numbers)
        if key not in self._outputs:
            self._outputs[key] = run(self._head, self.fused(numbers).features)
        return self._outputs[key]

    def _fuse(self, numbers: Tensor | None) -> FusedFeatures:
        if self._fusion is None:
            (pyramid,) = self._pyramids.values()
            return FusedFeatures(pyramid)
        told = numbers if self._fusion.can_leave_out else None
        return self._fusion(self._pyramids, told)
