"""What one sensor detects with, run once for its branch prediction and all experts."""

from __future__ import annotations

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import nn

from perception.models.pyramid import Pyramid


@MODELS.register_module()
class ConvTower(BaseModule):
    """Convolutions that a dense head would run for every expert, run once per sensor.

    A leave-one-out expert that runs a head of its own sees each sensor's features
    through the whole head again: S + 1 times with S experts, and once more for the
    branch prediction. With a tower in each branch, and a
    :class:`~perception.models.heads.last_layer.LastLayerFCOSHead`, experts mix what the
    towers make of their sensors.

    Args:
        in_channels: C, channels of the pyramid.
        channels: C_out, channels of the result.
        num_convs: How many 3x3 convolutions, each with group norm and ReLU.
        num_groups: Of the group norm.
        init_cfg: MMEngine initialisation config.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        num_convs: int = 2,
        num_groups: int = 8,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        layers: list[nn.Module] = []
        for n in range(num_convs):
            width = channels if n else in_channels
            layers += [
                nn.Conv2d(width, channels, 3, padding=1, bias=False),
                nn.GroupNorm(num_groups, channels),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, pyramid: Pyramid) -> Pyramid:
        """(N, C, H_l, W_l) per level to (N, C_out, H_l, W_l)."""
        return tuple(self.layers(level) for level in pyramid)
