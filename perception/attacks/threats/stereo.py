"""The camera attacked through the stereo matcher that makes the depth map.

A real depth map is computed from the left and the right picture: whoever changes the
left one, changes what the camera branch sees and the depth as well. The sample needs
the right picture, an extra ``image`` source of the data set, e.g.
``sources=dict(…, right=dict(kind="image", folder="image_3"))``; a detector has no
branch for it and ignores it.

Forward: OpenCV's semi-global matching (``perception.datasets.stereo``) of the attacked
left and the clean right picture, both at the detector's input size and in 8 bits. The
clean depth map usually comes from larger pictures, so only the *change* of disparity
that the attack causes is carried over to it: a pixel whose match is the same as without
the attack keeps its clean depth bit for bit; where both match, the clean disparity is
changed by the difference; where a match disappears, there is no return; where one
appears, it counts as it is.

Backward: the matcher is piecewise constant. In its place stands the soft argmin of a
local cost volume (as in Kendall et al., "End-to-end learning of geometry and context
for deep stereo regression", ICCV 2017): the absolute difference between grey values of
the left picture and of the right one ``window_px`` pixels around the disparity that the
matcher found, averaged over 5 x 5 pixels. Its gradient says which way a pixel's
disparity would drift; a jump to a far match has none. Pixels without a match get no
gradient.

Shape letters: N frames, H, W image height and width in pixels, D disparities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.registry import THREATS
from perception.attacks.threats.maps import MapThreat
from perception.core.structures import Calibration
from perception.datasets.stereo import stereo_depth

# Weights of red, green and blue in OpenCV's conversion to grey.
_GREY = (0.299, 0.587, 0.114)


@THREATS.register_module()
@dataclass(frozen=True, kw_only=True)
class StereoThreat(MapThreat):
    """A camera's picture may change a little, and the stereo depth follows.

    Attributes:
        depth: Name of the depth sensor whose map comes from the stereo pair.
        right: Name under which samples carry the right picture.
        through_matcher: Whether gradients of the depth reach the picture; without
            them the attack ascends through the camera's branch alone.
        window_px: Half width of the local cost volume in pixels of disparity.
        softness: Temperature of the soft argmin in grey levels.
    """

    depth: str = "depth"
    right: str = "right"
    through_matcher: bool = True
    window_px: int = 4
    softness: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            self.window_px >= 1 and self.softness > 0,
            "window_px must be at least 1 and softness positive, got "
            f"{self.window_px} and {self.softness}",
        )

    @property
    def touched(self) -> tuple[str, ...]:
        """The camera and the depth map."""
        return (self.sensor, self.depth)

    def check(self, sensors: Mapping[str, Any]) -> None:
        """Also raise unless there are an image and a depth sensor."""
        super().check(sensors)
        for name, kind in ((self.sensor, "image"), (self.depth, "depth")):
            if name not in sensors or sensors[name].kind != kind:
                raise ValueError(
                    f"threat {self.name!r} needs a sensor {name!r} of kind {kind!r}; "
                    f"the detector has { ({n: s.kind for n, s in sensors.items()}) }"
                )

    def render(self, variable: Tensor, batch: AttackBatch) -> dict[str, Tensor]:
        """The picture, and the depth map made of it."""
        maps = [self._depth(variable[n], batch, n) for n in range(len(batch))]
        return {self.sensor: variable, self.depth: torch.stack(maps)}

    def _depth(self, left: Tensor, batch: AttackBatch, frame: int) -> Tensor:
        """One frame's (1, H', W') padded depth map from its (3, H', W') picture."""
        height, width = batch.sizes(self.sensor)[frame]
        right = self._right(batch, frame)
        fx_baseline = self._fx_baselines(batch)[frame]
        padded_m = batch.inputs[self.depth][frame]
        clean_m = padded_m[0, :height, :width]
        left = left[:, :height, :width]
        before_m = self._before(batch)[frame].to(clean_m)
        after_m = match(left, right, fx_baseline).to(clean_m)
        depth_m = carry_over(clean_m, before_m, after_m)
        high_m = batch.sensors[self.depth].channels[0].high
        depth_m = torch.where(depth_m == clean_m, clean_m, depth_m.clamp(max=high_m))
        if self.through_matcher and left.requires_grad:
            disparity_px = fx_baseline / after_m.clamp(min=1e-3)
            drift_px = self._drift(left, right.to(left), disparity_px)
            # d depth / d disparity = -depth² / (focal length x baseline).
            slope = torch.where(after_m > 0, depth_m**2 / -fx_baseline, 0.0)
            depth_m = depth_m + slope * (drift_px - drift_px.detach())
        pad = (0, padded_m.shape[2] - width, 0, padded_m.shape[1] - height)
        return F.pad(depth_m[None], pad)

    def _before(self, batch: AttackBatch) -> list[Tensor]:
        """N depth maps (H, W) of the clean pairs, matched once per batch."""
        pictures, known = batch.inputs[self.sensor], self._fx_baselines(batch)
        return batch.once(
            ("stereo", self.sensor, self.right),
            lambda: [
                match(pictures[n, :, :height, :width], self._right(batch, n), known[n])
                for n, (height, width) in enumerate(batch.sizes(self.sensor))
            ],
        )

    def _drift(self, left: Tensor, right: Tensor, disparity_px: Tensor) -> Tensor:
        """(H, W) differentiable offset in pixels from the disparity found."""
        width = disparity_px.shape[1]
        grey = left.new_tensor(_GREY).view(3, 1, 1)
        left, right = (left * grey).sum(dim=0), (right * grey).sum(dim=0)
        offsets = torch.arange(-self.window_px, self.window_px + 1).to(left)
        columns = torch.arange(width).to(left) - disparity_px
        columns = (columns - offsets.view(-1, 1, 1)).clamp(0, width - 1)  # (D, H, W)
        index = columns.floor().long().clamp(max=max(width - 2, 0))
        share = columns - index
        rows = right.expand(len(offsets), -1, -1)
        after = (index + 1).clamp(max=width - 1)
        matched = torch.lerp(rows.gather(2, index), rows.gather(2, after), share)
        cost = F.avg_pool2d((left - matched).abs()[None], 5, 1, 2)[0]
        weight = (-cost / self.softness).softmax(dim=0)
        return (weight * offsets.view(-1, 1, 1)).sum(dim=0)

    def _right(self, batch: AttackBatch, frame: int) -> Tensor:
        """(3, H, W) right picture of one frame."""
        pictures = batch.raw.get(self.right)
        if pictures is None or pictures[frame] is None:
            raise ValueError(
                f"threat {self.name!r}: the samples have no {self.right!r} picture; "
                "add an image source of that name to the data set"
            )
        return pictures[frame]


def match(left: Tensor, right: Tensor, fx_baseline_px_m: float) -> Tensor:
    """Depth (H, W) in metres, 0 = no match, of two (3, H, W) pictures in 0 … 255."""
    # Depth depends on the product of focal length and baseline alone.
    left_P = np.eye(3, 4)
    left_P[0, 0] = fx_baseline_px_m
    right_P = left_P.copy()
    right_P[0, 3] = -fx_baseline_px_m
    depth_m = stereo_depth(
        *(_picture(left), _picture(right)), Calibration(left_P, right_P_cam=right_P)
    )
    return torch.from_numpy(depth_m)


def _picture(image: Tensor) -> np.ndarray:
    """(3, H, W) grey levels to (H, W, 3) uint8."""
    levels = image.detach().round().clamp(0, 255).byte()
    return np.ascontiguousarray(levels.permute(1, 2, 0).cpu().numpy())


def carry_over(clean_m: Tensor, before_m: Tensor, after_m: Tensor) -> Tensor:
    """Apply a change of stereo depth to another map of the same scene.

    Args:
        clean_m: (H, W) the map to change, in metres, 0 = no return.
        before_m: (H, W) stereo depth without the attack.
        after_m: (H, W) stereo depth with it.

    Returns:
        (H, W) ``clean_m`` wherever nothing changed.
    """
    tiny = 1e-6
    nearness = 1 / clean_m.clamp(min=tiny) + 1 / after_m.clamp(min=tiny)
    nearness = nearness - 1 / before_m.clamp(min=tiny)
    both = (clean_m > 0) & (before_m > 0) & (after_m > 0)
    changed_m = torch.where(both, 1 / nearness.clamp(min=tiny), after_m)
    return torch.where(after_m == before_m, clean_m, changed_m)
