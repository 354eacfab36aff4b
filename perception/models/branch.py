"""One sensor's path from its raw image to a feature pyramid.

Shape letters: N frames, C channels, H, W image size, C_l, H_l, W_l of level l.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor


@MODELS.register_module()
class SensorBranch(BaseModule):
    """Normalise, extract features, build a pyramid.

    Args:
        mean: C values subtracted from the input, in the sensor's own units.
        std: C values the input is then divided by.
        backbone: Config of any MMDetection backbone.
        neck: Config of an MMDetection neck such as FPN, or None.
        tower: Config of what prepares the pyramid for a last layer, such as
            :class:`~perception.models.tower.ConvTower`, or None.
        init_cfg: MMEngine initialisation config, e.g. ``Pretrained``.
    """

    def __init__(
        self,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        backbone: dict,
        neck: dict | None = None,
        tower: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(
                "mean and std need one value per channel and std must be positive, "
                f"got mean {list(mean)} and std {list(std)}"
            )
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), False)
        self.backbone = MODELS.build(backbone)
        self.neck = None if neck is None else MODELS.build(neck)
        self.tower = None if tower is None else MODELS.build(tower)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) in physical units to the pyramid of (N, C_l, H_l, W_l)."""
        features = self.backbone((image - self.mean) / self.std)
        if self.neck is not None:
            features = self.neck(features)
        return tuple(features if self.tower is None else self.tower(features))
