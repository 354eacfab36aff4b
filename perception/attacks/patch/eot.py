"""How a printed patch is seen: printable colours, and random views of it.

Shape letters: N frames, D draws, U changed pixels, C channels, H, W input size in
pixels; h, w texture size in texels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.patch.placement import PatchPlane
from perception.attacks.patch.warp import Warp, plan_warp


@dataclass(frozen=True, kw_only=True)
class Gamut:
    """Colours that a print can have, in the camera's grey levels.

    Black and white are those of offset print on coated paper, L* = 16 and 95 (ISO
    12647-2), in sRGB with white at 255. Inks do not mix to pure primaries: the
    spread between a colour's channels is limited too, a cautious box within the
    solid tones of the same standard.

    Attributes:
        black: Darkest value of a channel.
        white: Brightest value of a channel.
        saturation: Largest difference between a colour's channels, as a share of
            white - black.
    """

    black: float = 40.0
    white: float = 240.0
    saturation: float = 0.8

    def __post_init__(self) -> None:
        if not (0 <= self.black < self.white <= 255 and 0 <= self.saturation <= 1):
            raise ValueError(
                "a gamut needs 0 <= black < white <= 255 and a saturation in 0 … 1, "
                f"got {self.black}, {self.white} and {self.saturation}"
            )

    def clip(self, colours: Tensor) -> Tensor:
        """(N, C, h, w) into the gamut: into the box, then towards grey."""
        colours = colours.clamp(self.black, self.white)
        grey = colours.mean(dim=1, keepdim=True)
        spread = colours.amax(dim=1, keepdim=True) - colours.amin(dim=1, keepdim=True)
        limit = self.saturation * (self.white - self.black)
        # Colours inside stay bit for bit, so that clipping twice is clipping once.
        pulled = grey + (colours - grey) * (limit / spread.clamp(min=1e-6))
        return torch.where(spread > limit * (1 + 1e-6), pulled, colours)


@dataclass(frozen=True, kw_only=True)
class Transformations:
    """How differently a patch may be seen than planned.

    Attributes:
        draws: Views per frame, D.
        scale: Largest relative change of its size.
        rotation_deg: Largest turn within its plane.
        shift: Largest shift, as a share of its width and height.
        brightness: Largest change in grey levels.
        contrast: Largest relative change of contrast.
        noise: Standard deviation of the camera's noise in grey levels.
    """

    draws: int = 4
    scale: float = 0.1
    rotation_deg: float = 5.0
    shift: float = 0.1
    brightness: float = 20.0
    contrast: float = 0.15
    noise: float = 4.0

    def __post_init__(self) -> None:
        if self.draws < 1 or min(getattr(self, f.name) for f in fields(self)) < 0:
            raise ValueError(f"transformations must not be negative, got {self}")
        if not (self.scale < 1 and self.contrast < 1):
            raise ValueError(f"scale and contrast must be below 1, got {self}")

    def move(self, plane: PatchPlane, rng: np.random.Generator) -> PatchPlane:
        """The patch turned, scaled and shifted within its plane."""
        turn = np.deg2rad(rng.uniform(-self.rotation_deg, self.rotation_deg))
        scale = 1 + rng.uniform(-self.scale, self.scale)
        shift = rng.uniform(-self.shift, self.shift, size=2) * plane.size
        cos, sin = scale * np.cos(turn), scale * np.sin(turn)
        moved = np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]], [0, 0, 1]])
        return PatchPlane(plane.image_H_plane @ moved, plane.size)


@dataclass(frozen=True)
class Views:
    """How the textures of a batch are seen: D N images, draw after draw.

    Attributes:
        warp: Where.
        contrast: (D N, 1, 1, 1) factor about mid-grey.
        brightness: (D N, 1, 1, 1) added, in grey levels.
        noise: (U, C) of every pixel of the warp, None without.
    """

    warp: Warp
    contrast: Tensor
    brightness: Tensor
    noise: Tensor | None

    def __call__(self, textures: Tensor, images: Tensor) -> Tensor:
        """Images (N, C, H, W) with the textures (N, C, h, w), as (D N, C, H, W)."""
        draws = len(self.contrast) // len(images)
        textures = textures.repeat(draws, 1, 1, 1)
        seen = (textures - 128) * self.contrast + 128 + self.brightness
        return self.warp(seen.clamp(0, 255), images.repeat(draws, 1, 1, 1), self.noise)


def build_views(
    planned: Sequence[Sequence[PatchPlane]],
    batch: AttackBatch,
    images: Tensor,
    texture_px: tuple[int, int],
    eot: Transformations | None,
    seed: int,
) -> Views:
    """Draw how the copies ``planned`` in each frame are seen.

    The draws of a frame depend on ``seed`` and its number alone, not on the batch;
    without ``eot`` there is one view, exactly as planned.
    """
    draws = range(1 if eot is None else eot.draws)
    rngs = [np.random.default_rng((seed, n, d, 1)) for d in draws for n in batch.ids]
    planes = [copies for _ in draws for copies in planned]
    light = np.zeros((len(planes), 2))
    if eot is not None:
        for i, rng in enumerate(rngs):
            light[i] = rng.uniform(-1, 1, 2) * (eot.contrast, eot.brightness)
            planes[i] = [eot.move(plane, rng) for plane in planes[i]]
    shapes = [sample.img_shape[:2] for sample in batch.samples] * len(draws)
    height, width = images.shape[-2:]
    warp = plan_warp(planes, shapes, (height, width), texture_px, images.device)
    noise = None
    if eot is not None and eot.noise > 0:
        image_of = (warp.pixels // (height * width)).cpu().numpy()
        counts = np.bincount(image_of, minlength=len(planes))
        values = [
            rng.normal(0, eot.noise, (count, images.shape[1]))
            for rng, count in zip(rngs, counts, strict=True)
        ]
        noise = torch.from_numpy(np.concatenate(values)).to(images.device)
    drawn = torch.from_numpy(light).to(images).view(-1, 2, 1, 1, 1)
    return Views(warp, 1 + drawn[:, 0], drawn[:, 1], noise)
