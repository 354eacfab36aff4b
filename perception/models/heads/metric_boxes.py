"""Boxes in metres as the numbers that a location of a dense head predicts, and back.

Numbers are, of each location: the way to the projected 3D centre (2, in strides), the
logarithm of the depth, and of height, width and length over the class's mean (3). A
direction is the unit vector (cos, sin) of the observation angle as the input shows it:
a mirrored image shows π - alpha. So that augmentation needs no undoing, all is read
through the calibration that has absorbed it.

**Zoom changes the focal length and not the metres.** One image alone shows depth in
units of the focal length f, points and depth maps say metres. What is read from an
image alone is therefore taken for depth x f0 / f and turned into metres by
:func:`in_metres`; everything else says metres, so that predictions can be compared.

Shape letters: P locations, N frames, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_LARGEST = 10.0  # of a logarithm, before its exponential


@dataclass(frozen=True, kw_only=True)
class MetricCode:
    """How boxes in metres become numbers.

    Attributes:
        mean_sizes_m: For each of K classes mean height, width and length.
        mean_depth_m: The depth whose number is 0.
    """

    mean_sizes_m: tuple[tuple[float, float, float], ...]
    mean_depth_m: float = 16.0

    def encode(
        self,
        targets: Tensor,
        labels: Tensor,
        points_px: Tensor,
        strides_px: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Numbers (P, 6) and directions (P, 2) that say these boxes.

        Args:
            targets: (P, 7) x, y in pixels and depth in metres of the 3D centre, height,
                width, length in metres, observation angle as the input shows it.
            labels: (P,) their classes.
            points_px: (P, 2) where the locations are.
            strides_px: (P,) of their levels.
        """
        way = (targets[:, :2] - points_px) / strides_px[:, None]
        depth = (targets[:, 2] / self.mean_depth_m).log()
        sizes = (targets[:, 3:6] / self._sizes(labels, targets)).log()
        angle = targets[:, 6]
        direction = torch.stack([angle.cos(), angle.sin()], dim=1)
        return torch.cat([way, depth[:, None], sizes], dim=1), direction

    def decode(
        self,
        numbers: Tensor,
        directions: Tensor,
        labels: Tensor,
        points_px: Tensor,
        strides_px: Tensor,
        image_P_cam: Tensor,
    ) -> Tensor:
        """(P, 7) boxes: x, y, z of the bottom face's centre, h, w, l in metres, yaw.

        In the cam frame, as :class:`~perception.core.structures.Objects` has them;
        differentiable.

        Args:
            numbers: (P, 6), of depths in metres.
            directions: (P, 2).
            labels: As for :meth:`encode`, like the next two.
            points_px: (P, 2).
            strides_px: (P,).
            image_P_cam: (P, 3, 4) projection of their frames to the input's pixels, or
                (1, 3, 4) of all.
        """
        centre = numbers[:, :2] * strides_px[:, None] + points_px
        logs = numbers[:, 2:].clamp(-_LARGEST, _LARGEST).exp()
        depth_m = self.depth_m(numbers[:, 2])
        sizes_m = logs[:, 1:] * self._sizes(labels, logs)
        where = unproject(image_P_cam, centre - 0.5, depth_m)
        x, y, z = where.unbind(dim=1)
        y = y + sizes_m[:, 0] / 2
        mirrored = image_P_cam[:, 0, 0] < 0
        cos = torch.where(mirrored, -directions[:, 0], directions[:, 0])
        yaw = torch.atan2(directions[:, 1], cos) + torch.atan2(x, z)
        yaw = torch.remainder(yaw + torch.pi, 2 * torch.pi) - torch.pi
        return torch.stack([x, y, z, *sizes_m.unbind(dim=1), yaw], dim=1)

    def depth_m(self, number: Tensor) -> Tensor:
        """Metres of a depth's number."""
        return number.clamp(-_LARGEST, _LARGEST).exp() * self.mean_depth_m

    def _sizes(self, labels: Tensor, like: Tensor) -> Tensor:
        return like.new_tensor(self.mean_sizes_m)[labels]


def in_metres(numbers: Tensor, focal_px: Tensor, at_px: float) -> Tensor:
    """Numbers (N, 6, …) read from an image alone, their depth in metres.

    Args:
        numbers: Of depths x f0 / f.
        focal_px: (N,) focal lengths f of the inputs.
        at_px: f0.
    """
    further = (focal_px / at_px).log().view(-1, *[1] * (numbers.ndim - 1))
    way, depth, sizes = numbers.split((2, 1, 3), dim=1)
    return torch.cat([way, depth + further, sizes], dim=1)


def unproject(image_P_cam: Tensor, pixels: Tensor, depth_m: Tensor) -> Tensor:
    """(P, 3) points in the cam frame, see ``perception.core.geometry``.

    Args:
        image_P_cam: (P, 3, 4) projections, or (1, 3, 4) of all.
        pixels: (P, 2) u, v of pixel centres.
        depth_m: (P,) z in the cam frame.
    """
    inverse = torch.linalg.inv(image_P_cam[:, :, :3])
    centre = (inverse @ image_P_cam[:, :, 3:])[..., 0]
    ones = torch.ones_like(pixels[:, :1])
    rays = (inverse @ torch.cat([pixels, ones], dim=1)[..., None])[..., 0]
    scale = (depth_m + centre[:, 2]) / rays[:, 2]
    return scale[:, None] * rays - centre
