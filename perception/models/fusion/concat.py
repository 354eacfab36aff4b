"""Plain fusion by concatenation, the first baseline."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from perception.models.fusion.base import FusionNeck, FusionOutput
from perception.models.heads.outputs import HeadOutputs


@MODELS.register_module()
class ConcatFusion(FusionNeck):
    """Concatenate the sensors' features, mix them with a 1x1 convolution per level.

    The arguments are those of :class:`FusionNeck`.
    """

    def __init__(
        self,
        *,
        sensors: Sequence[str],
        in_channels: int,
        num_levels: int,
        out_channels: int,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            sensors=sensors,
            in_channels=in_channels,
            num_levels=num_levels,
            out_channels=out_channels,
            init_cfg=init_cfg,
        )
        width = len(self.sensors) * self.in_channels
        self.mix = nn.ModuleList(
            nn.Conv2d(width, self.out_channels, 1) for _ in range(self.num_levels)
        )

    def fuse(
        self,
        levels: Sequence[Sequence[Tensor]],
        views: Sequence[HeadOutputs] = (),
        experts: Sequence[HeadOutputs] = (),
    ) -> FusionOutput:
        """Fuse ``levels[l][i]`` (N, C, H_l, W_l) into (N, C_out, H_l, W_l)."""
        return FusionOutput(
            tuple(
                mix(torch.cat(list(level), dim=1))
                for mix, level in zip(self.mix, levels, strict=True)
            )
        )
