"""The latent ensemble layer, the strongest published fusion before the paper's."""

from __future__ import annotations

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from perception.models.fusion.base import FusedFeatures, FusionNeck, Levels
from perception.models.pyramid import PyramidShape


@MODELS.register_module()
class LatentEnsembleFusion(FusionNeck):
    """Concatenate, mix with a sparse 1x1 convolution, batch-normalise.

    Kim and Ghosh, "On Single Source Robustness in Deep Fusion Models", NeurIPS 2019:
    an L1 penalty on the mixing weights makes every output channel rely on few
    sensors. Ours applies the layer at every pyramid level.

    Args:
        shape: See :class:`FusionNeck`.
        l1_weight: Factor of the summed absolute mixing weights in the loss; 0.01 as
            in Yang et al., CVPR 2021.
        init_cfg: MMEngine initialisation config.
    """

    def __init__(
        self,
        shape: PyramidShape,
        *,
        l1_weight: float = 0.01,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(shape, init_cfg=init_cfg)
        if l1_weight < 0:
            raise ValueError(f"l1_weight must not be negative, got {l1_weight}")
        self.l1_weight = l1_weight
        width, levels = len(shape.sensors) * shape.in_channels, range(shape.num_levels)
        self.mix = nn.ModuleList(
            nn.Conv2d(width, shape.out_channels, 1, bias=False) for _ in levels
        )
        self.norm = nn.ModuleList(nn.BatchNorm2d(shape.out_channels) for _ in levels)

    def fuse(self, levels: Levels, leave_out: Tensor | None) -> FusedFeatures:
        """Fuse ``levels[l][i]`` (N, C, H_l, W_l) into (N, C_out, H_l, W_l)."""
        return FusedFeatures(
            tuple(
                norm(mix(torch.cat(list(level), dim=1)))
                for mix, norm, level in zip(self.mix, self.norm, levels, strict=True)
            )
        )

    def losses(
        self, gate_logits: Tensor | None, odd_sensors: Tensor
    ) -> dict[str, Tensor]:
        """The L1 penalty on the mixing weights of all levels."""
        total = torch.stack([w.abs().sum() for w in self.mix.parameters()]).sum()
        return {"loss_lel_l1": self.l1_weight * total}
