"""What sensors measure of depth, for every location of a pyramid.

A location gets the depths in the quarters of its cell and of the ring around them, so
that a head can choose the ones that show the object and say the rest of the way to its
centre. Sums, not means, are kept: of a quarter without a return nothing is left, and no
step hides a gradient from attacks or training.

Shape letters: N frames, C channels, H, W input size in pixels, H_l, W_l size of pyramid
level l, M sensors that measure depth, Q quarters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from perception.core.structures import SensorSpec
from perception.models.pyramid import Pyramid

_ACROSS = 4  # quarters of a location in a row: its own two and one on either side
QUARTERS = _ACROSS**2
CHANNELS = 2 * QUARTERS  # of each sensor
UNIT_M = 16.0
_SURE_M = 1.0  # a nearer return counts in part, 0 m for none
_NO_SHARE = 1e-4  # of a quarter's pixels, as good as none
_STRICT = 50.0


def measured_depths(image: Tensor, spec: SensorSpec, like: Pyramid) -> Pyramid:
    """What one sensor measures, (N, 2 Q, H_l, W_l) per level; empty if no depth.

    Of each quarter the mean over its pixels of the logarithm of the depth over
    ``UNIT_M``, and after all of these the share of pixels with a return; pixels without
    one count as 0 in the first. Differentiable.

    Args:
        image: (N, C, H, W) input of the sensor.
        spec: Of the sensor.
        like: Its features, for their sizes.
    """
    if spec.depth_channel is None:
        return ()
    depth_m = image[:, spec.depth_channel, None]
    depth_m = depth_m.nan_to_num().clamp(max=spec.channels[spec.depth_channel].high)
    seen = (depth_m / _SURE_M).clamp(0, 1)
    logs = (depth_m.clamp(min=_SURE_M) / UNIT_M).log()
    both = torch.cat([seen * logs, seen], dim=1)
    return tuple(_by_quarters(both, level.shape[-2:]) for level in like)


def _by_quarters(both: Tensor, size: torch.Size) -> Tensor:
    """Means (N, 2 Q, H_l, W_l) of (N, 2, H, W) over the quarters of each location."""
    height, width = int(size[0]), int(size[1])
    rows, columns = int(both.shape[-2]), int(both.shape[-1])
    if rows % (2 * height) or columns % (2 * width):
        fine = F.adaptive_avg_pool2d(both, (2 * height, 2 * width))
    else:  # by whole blocks, as ONNX can
        fine = F.avg_pool2d(both, (rows // (2 * height), columns // (2 * width)))
    around = F.unfold(fine, _ACROSS, padding=(_ACROSS - 2) // 2, stride=2)
    return around.view(-1, CHANNELS, height, width)


def nearest_to_expected(choice: Tensor, measured: Tensor) -> Tensor:
    """(N, 1, H_l, W_l) mean logarithm of depth over ``UNIT_M``, a softmax's.

    Of the quarters of M sensors, by how near they are to an expected depth, and of that
    depth itself, which is all there is where nothing is measured.

    Args:
        choice: (N, 1 + M Q + 2, H_l, W_l): logits of the expected depth and of all
            quarters; the logarithm of the expected depth; how much quarters lose by
            being off.
        measured: (N, 2 M Q, H_l, W_l), see :func:`measured_depths`.
    """
    parts = measured.unflatten(1, (-1, 2, QUARTERS))
    logs, shares = (part.flatten(1, 2) for part in parts.unbind(dim=2))
    values = logs / shares.clamp(min=_NO_SHARE)
    usual, each, expected, strict = choice.split((1, shares.shape[1], 1, 1), dim=1)
    loss = _STRICT * F.softplus(strict) * (values - expected).square()
    each = each - loss + (shares + _NO_SHARE).log()
    weights = torch.cat([usual, each], dim=1).softmax(dim=1)
    return (weights * torch.cat([expected, values], dim=1)).sum(dim=1, keepdim=True)


@dataclass(frozen=True, eq=False)
class MeasuredDepths:
    """What M sensors measure, as far as whoever predicts may see it.

    Attributes:
        by_sensor: {sensor: :func:`measured_depths`}, of those that measure any.
    """

    by_sensor: Mapping[str, Pyramid]

    @classmethod
    def split_off(
        cls, encoded: Mapping[str, Pyramid], measuring: Sequence[str]
    ) -> tuple[dict[str, Pyramid], MeasuredDepths]:
        """Features alone, and what these sensors have behind them, as many levels."""
        features, measured = dict(encoded), {}
        for name in measuring:
            half = len(encoded[name]) // 2
            features[name], measured[name] = encoded[name][:half], encoded[name][half:]
        return features, cls(measured)

    def beside(self, features: Pyramid, seen: Mapping[str, bool | Tensor]) -> Pyramid:
        """Features (N, C, H_l, W_l) and behind them all M sensors', 0 if not seen.

        Args:
            features: Of N frames.
            seen: {sensor: whether it is, or to which share (N, 1, h, w)}; sensors that
                are not among them are not seen.
        """
        if not self.by_sensor:
            return features
        slots = [
            _shown(pyramid, seen.get(name, False))
            for name, pyramid in self.by_sensor.items()
        ]
        return tuple(
            torch.cat(level, dim=1) for level in zip(features, *slots, strict=True)
        )


def _shown(pyramid: Pyramid, share: bool | Tensor) -> Pyramid:
    if isinstance(share, bool):
        return pyramid if share else tuple(map(torch.zeros_like, pyramid))
    return tuple(level * _resized(share, level) for level in pyramid)


def _resized(share: Tensor, like: Tensor) -> Tensor:
    """A share per frame, or per location of another grid, for each of (…, H_l, W_l)."""
    if share.shape[-2:] == (1, 1):
        return share
    return F.interpolate(share, size=like.shape[-2:], mode="nearest")
