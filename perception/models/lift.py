"""The floor for boxes in metres: image boxes lifted by the depth inside, untrained.

Shape letters: D detections, M maps of depths, H, W input size in pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from perception.core.structures import SensorSpec
from perception.models.heads.metric_boxes import unproject

_INNER = 0.5  # the part of a box's sides that surely shows the object
_YAW = -torch.pi / 2  # along the camera's view, as most traffic is


class BoxLift:
    """Makes boxes in metres of image boxes and whatever maps of depth there are.

    An object's size is its class's mean, its yaw along the view; its near face is where
    the median of all depths inside the middle of its box is, of all sensors together.
    Without any depth it is as far as its height says.

    Args:
        mean_sizes_m: Of each of K classes mean height, width and length.
    """

    def __init__(self, *, mean_sizes_m: Sequence[Sequence[float]]) -> None:
        self.sizes_m = torch.tensor(mean_sizes_m, dtype=torch.float32)
        if self.sizes_m.ndim != 2 or self.sizes_m.shape[1] != 3:
            raise ValueError(
                f"mean_sizes_m must be height, width and length of each class, got "
                f"{mean_sizes_m}"
            )

    def boxes_3d(
        self,
        found: InstanceData,
        inputs: Mapping[str, Tensor],
        specs: Mapping[str, SensorSpec],
        meta: Mapping[str, Any],
        *,
        rescaled: bool,
    ) -> Tensor:
        """(D, 7) boxes of one frame, see ``FCOS3DHead``.

        Args:
            found: Its detections.
            inputs: {sensor: (C, H, W)} of the frame; those of depth count.
            specs: Of the sensors.
            meta: Of the frame.
            rescaled: Whether boxes are in pixels of the original image.
        """
        boxes_px = found.bboxes
        if rescaled:
            scale = boxes_px.new_tensor(meta["scale_factor"]).repeat(2)
            boxes_px = boxes_px * scale
        maps = [
            inputs[name][spec.depth_channel]
            for name, spec in specs.items()
            if spec.depth_channel is not None
        ]
        sizes_m = self.sizes_m.to(boxes_px)[found.labels]
        camera = torch.as_tensor(meta["image_P_cam"]).to(boxes_px)
        centre = (boxes_px[:, :2] + boxes_px[:, 2:]) / 2
        height_px = (boxes_px[:, 3] - boxes_px[:, 1]).clamp(min=1)
        by_height = camera[1, 1].abs() * sizes_m[:, 0] / height_px
        inside = [_median_m(maps, box) for box in _inner(boxes_px, centre)]
        seen = torch.stack(inside) if inside else by_height
        depth_m = torch.where(seen.isfinite(), seen + sizes_m[:, 2] / 2, by_height)
        x, y, z = unproject(camera[None], centre - 0.5, depth_m).unbind(dim=1)
        yaw = torch.full_like(x, _YAW)
        bottom = y + sizes_m[:, 0] / 2
        return torch.stack([x, bottom, z, *sizes_m.unbind(dim=1), yaw], dim=1)


def _inner(boxes_px: Tensor, centre: Tensor) -> list[list[int]]:
    """Rows and columns from and to, of the middle of each box; at least one pixel."""
    half = (boxes_px[:, 2:] - boxes_px[:, :2]) * _INNER / 2
    low, high = (centre - half).floor(), (centre + half).ceil()
    return torch.cat([low, torch.maximum(high, low + 1)], dim=1).long().tolist()


def _median_m(maps: Sequence[Tensor], box: Sequence[int]) -> Tensor:
    """Median of the depths (0: none) of all maps in a box; NaN without any."""
    left, top, right, bottom = (max(side, 0) for side in box)
    values = torch.cat([one[top:bottom, left:right].flatten() for one in maps])
    values = values[values > 0]
    return values.median() if len(values) else maps[0].new_tensor(torch.nan)
