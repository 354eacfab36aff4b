"""Plain fusion by concatenation, the first baseline."""

from __future__ import annotations

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from perception.models.fusion.base import FusedFeatures, FusionNeck, Levels
from perception.models.pyramid import PyramidShape


@MODELS.register_module()
class ConcatFusion(FusionNeck):
    """Concatenate the sensors' features, mix them with a 1x1 convolution per level."""

    def __init__(self, shape: PyramidShape, *, init_cfg: dict | None = None) -> None:
        super().__init__(shape, init_cfg=init_cfg)
        width = len(shape.sensors) * shape.in_channels
        self.mix = nn.ModuleList(
            nn.Conv2d(width, shape.out_channels, 1) for _ in range(shape.num_levels)
        )

    def fuse(self, levels: Levels, leave_out: Tensor | None) -> FusedFeatures:
        """Fuse ``levels[l][i]`` (N, C, H_l, W_l) into (N, C_out, H_l, W_l)."""
        return FusedFeatures(
            tuple(
                mix(torch.cat(list(level), dim=1))
                for mix, level in zip(self.mix, levels, strict=True)
            )
        )
