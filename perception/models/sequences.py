"""Backbones for what is classified as a whole: signals over time, video, vectors.

Each makes of a sensor's input one level of features without a size, (N, C, 1, 1), so
that fusion necks, aggregators and heads take it as a pyramid of one level.

Shape letters: N samples, C input channels, D features, T moments, H, W size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn


@MODELS.register_module()
class VectorBackbone(BaseModule):
    """A feature vector through a perceptron with one hidden layer.

    Args:
        in_channels: Numbers of the vector, C H W of the input.
        out_channels: D.
        dropout: Share of the numbers and of the hidden ones left out in training.
        init_cfg: MMEngine initialisation config.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dropout: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(in_channels, out_channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(out_channels, out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """(N, C, H, W) to one level (N, D, 1, 1)."""
        return (self.layers(x)[..., None, None],)


@MODELS.register_module()
class SignalBackbone(BaseModule):
    """1D convolutions over time, for inertial signals and skeletons.

    Args:
        in_channels: Numbers at each moment, C H of the input (N, C, H, T).
        out_channels: D.
        widths: Channels after each convolution; each halves the moments.
        bins: Stretches of time whose means and maxima the features are made of.
        dropout: Share of these left out in training.
        init_cfg: MMEngine initialisation config.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int] = (32, 64),
        bins: int = 4,
        dropout: float = 0.3,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        layers: list[nn.Module] = []
        for width in widths:
            layers += [
                nn.Conv1d(in_channels, width, 5, stride=2, padding=2),
                nn.BatchNorm1d(width),
                nn.ReLU(inplace=True),
            ]
            in_channels = width
        self.layers, self.bins = nn.Sequential(*layers), bins
        self.features = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(2 * bins * in_channels, out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """(N, C, H, T) to one level (N, D, 1, 1)."""
        return (self.over_time(x.flatten(1, 2)),)

    def over_time(self, x: Tensor) -> Tensor:
        """(N, C, T) to (N, D, 1, 1)."""
        moments = self.layers(x)
        binned = [
            pool(moments, self.bins).flatten(1)
            for pool in (F.adaptive_avg_pool1d, F.adaptive_max_pool1d)
        ]
        return self.features(torch.cat(binned, dim=1))[..., None, None]


@MODELS.register_module()
class VideoBackbone(BaseModule):
    """2D convolutions of each picture, then 1D convolutions over time.

    A video comes as one image, its T pictures one below the other, so that threat
    models and pictures of attacks take it as they take any map. A picture is looked at
    beside what changed since the one before it.

    Args:
        frames: T.
        picture: H, W of each.
        out_channels: D.
        widths: Channels after each 2D convolution; each halves the picture.
        in_channels: C.
        width: Numbers that each picture becomes.
        dropout: Share of features left out in training.
        init_cfg: MMEngine initialisation config.
    """

    def __init__(
        self,
        *,
        frames: int,
        picture: tuple[int, int],
        out_channels: int,
        widths: Sequence[int] = (8, 16, 24),
        in_channels: int = 1,
        width: int = 48,
        dropout: float = 0.3,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.frames = frames
        layers: list[nn.Module] = []
        in_channels, (rows, columns) = 2 * in_channels, picture
        for channels in widths:
            layers += [
                nn.Conv2d(in_channels, channels, 3, stride=2, padding=1),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
            in_channels = channels
            rows, columns = -(-rows // 2), -(-columns // 2)
        layers += [
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(in_channels * rows * columns, width),
            nn.ReLU(inplace=True),
        ]
        self.pictures = nn.Sequential(*layers)
        self.time = SignalBackbone(
            width, out_channels, widths=(out_channels,), bins=4, dropout=dropout
        )

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """(N, C, T H, W) to one level (N, D, 1, 1)."""
        n, channels, height, width = x.shape
        stack = x.view(n, channels, self.frames, height // self.frames, width)
        before = torch.cat([stack[:, :, :1], stack[:, :, :-1]], dim=2)
        stack = torch.cat([stack, stack - before], dim=1)
        each = self.pictures(stack.transpose(1, 2).flatten(0, 1))
        return (self.time.over_time(each.view(n, self.frames, -1).transpose(1, 2)),)
