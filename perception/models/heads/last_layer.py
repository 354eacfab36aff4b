"""The last layer of an FCOS head, for features that towers have prepared."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import Scale
from mmdet.models.dense_heads import FCOSHead
from mmdet.registry import MODELS
from torch import Tensor, nn

_PREDICTORS = ("conv_cls", "conv_reg", "conv_centerness")


@MODELS.register_module()
class LastLayerFCOSHead(FCOSHead):
    """An FCOS head (Tian et al., ICCV 2019) without convolutions before the last one.

    The features are what experts or projections mix linearly from the sensors' towers:
    ReLU makes them features of their own. Class logits, box sides and centre-ness come
    from one convolution of 1x1, since there is one for every expert and sensor.

    Args:
        num_classes: Classes.
        in_channels: Channels of the features.
        settings: What else :class:`FCOSHead` takes, but for its convolutions.
    """

    def __init__(self, num_classes: int, in_channels: int, **settings: Any) -> None:
        super().__init__(
            num_classes,
            in_channels,
            stacked_convs=0,
            feat_channels=in_channels,
            **settings,
        )

    def _init_layers(self) -> None:
        """1x1 in place of the three last convolutions."""
        super()._init_layers()
        for name in _PREDICTORS:
            width = getattr(self, name).out_channels
            setattr(self, name, nn.Conv2d(self.in_channels, width, 1))

    def forward_single(
        self, x: Tensor, scale: Scale, stride: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, box sides and centre-ness of one level, as :class:`FCOSHead`'s."""
        layers = [getattr(self, name) for name in _PREDICTORS]
        said = F.conv2d(
            F.relu(x),
            torch.cat([layer.weight for layer in layers]),
            torch.cat([layer.bias for layer in layers]),
        )
        scores, sides, centerness = said.split((self.cls_out_channels, 4, 1), dim=1)
        sides = scale(sides).float()
        if not self.norm_on_bbox:
            return scores, sides.exp(), centerness
        sides = sides.clamp(min=0)
        return scores, sides if self.training else sides * stride, centerness
