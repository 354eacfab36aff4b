"""How a detector wants its picture: channel order, scale, size, padding.

Shape letters: h, w size of a picture in pixels, H, W of what the detector is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PictureFormat:
    """From RGB grey levels to a detector's input; a gradient passes through.

    Attributes:
        order: Order of the channels.
        mean: Grey levels that are subtracted, one for all channels or one for each, in
            this order.
        std: Grey levels that are then 1; 255 gives values from 0 to 1.
        size: (H, W) to resize to; None leaves the size.
        keep_ratio: Resize as far as fits into ``size``, both sides by one factor;
            otherwise to exactly ``size``.
        antialias: Average what shrinks, as OpenCV's INTER_AREA and Pillow do; otherwise
            as its INTER_LINEAR.
        fill: Grey level of what is then missing, on the right and at the bottom
            ("letterbox"); None adds nothing.
        divisor: Height and width are padded with zeros, after all else, to multiples.
    """

    order: Literal["rgb", "bgr"] = "rgb"
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    size: tuple[int, int] | None = None
    keep_ratio: bool = True
    antialias: bool = False
    fill: float | None = None
    divisor: int = 1

    def __post_init__(self) -> None:
        if self.order not in ("rgb", "bgr"):
            raise ValueError(f"order must be rgb or bgr, got {self.order!r}")
        if self.divisor < 1:
            raise ValueError(f"divisor must be at least 1, got {self.divisor}")

    def __call__(self, picture: Tensor) -> tuple[Tensor, tuple[float, float]]:
        """The input, and how large it shows things.

        Args:
            picture: (3, h, w) RGB in grey levels.

        Returns:
            (1, 3, H, W), and the factors by which x and y were multiplied.
        """
        image = (picture.flip(0) if self.order == "bgr" else picture)[None]
        height, width = picture.shape[1:]
        new = self._new_size(height, width)
        if new != (height, width):
            image = F.interpolate(
                image,
                new,
                mode="bilinear",
                align_corners=False,
                antialias=self.antialias,
            )
        if self.fill is not None and self.size is not None:
            down, right = self.size[0] - new[0], self.size[1] - new[1]
            image = F.pad(image, (0, right, 0, down), value=self.fill)
        image = (image - self._levels(self.mean, image)) / self._levels(self.std, image)
        down, right = (-side % self.divisor for side in image.shape[2:])
        return F.pad(image, (0, right, 0, down)), (new[1] / width, new[0] / height)

    def _new_size(self, height: int, width: int) -> tuple[int, int]:
        if self.size is None or not self.keep_ratio:
            return self.size or (height, width)
        factor = min(self.size[0] / height, self.size[1] / width)
        return int(height * factor + 0.5), int(width * factor + 0.5)

    @staticmethod
    def _levels(value: float | tuple[float, ...], like: Tensor) -> Tensor:
        return torch.as_tensor(value).to(like).view(1, -1, 1, 1)
