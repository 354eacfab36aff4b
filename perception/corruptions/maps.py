"""What failures do to pictures and depth maps.

Each effect takes one frame's reading and a level in the unit that its name ends in, and
returns the reading as it would be. Random numbers come from the reading's generator in
an order that does not depend on the level, so that a higher severity is the same
failure, further gone. Depth 0 means no return and stays 0.

Shape letters: C channels, H, W image height and width in pixels, P points, F features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from perception.core.structures import SensorSpec

FOG_GREY = 200.0
# A scene without a depth map is taken to be this far away.
TYPICAL_DEPTH_M = 25.0
SKY_DEPTH_M = 150.0
KOSCHMIEDER = 3.912  # -ln 0.02: contrast 2 % at the limit of visibility


@dataclass(frozen=True)
class Reading:
    """What one sensor delivers in one frame.

    Attributes:
        spec: The sensor.
        value: (3, H, W) grey levels, (1, H, W) metres, or (P, 3 + F) points.
        size: (H, W) of the reference image in pixels.
        generator: Source of random numbers.
        projection: (3, 4) from this or another point sensor to pixels, None if no
            sensor has one.
        depth_m: (1, H, W) a depth map of the scene, None if there is none.
    """

    spec: SensorSpec
    value: Tensor
    size: tuple[int, int]
    generator: torch.Generator
    projection: Tensor | None = None
    depth_m: Tensor | None = None

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in 0 … 1."""
        return torch.rand(shape, generator=self.generator).to(self.value.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=self.generator).to(self.value.device)

    def lens(self) -> tuple[float, float, float]:
        """Focal length and principal point u, v in pixels.

        Without a projection: the image's centre and a focal length of its width.
        """
        if self.projection is None:
            height, width = self.size
            return float(width), (width - 1) / 2, (height - 1) / 2
        right, down, forward = self.projection[:, :3].double().cpu()
        # The rows of K R: the third is the optical axis, of unit length.
        u, v = float(right @ forward), float(down @ forward)
        return float((right - u * forward).norm()), u, v


def lose(reading: Reading, lost: Tensor) -> Reading:
    """Black, or no return, where the mask (H, W) says so."""
    return replace(reading, value=reading.value.masked_fill(lost, 0.0))


def blackout_share(reading: Reading, share: float) -> Reading:
    """A rectangle with this share of the area sees nothing; 1 blinds all."""
    height, width = reading.value.shape[-2:]
    at_row, at_column = reading.uniform(2).tolist()
    side = math.sqrt(share)
    rows = _band(height, at_row * (1 - side), side, reading.value)
    columns = _band(width, at_column * (1 - side), side, reading.value)
    return lose(reading, rows[:, None] & columns)


def _band(length: int, start: float, share: float, like: Tensor) -> Tensor:
    centres = (torch.arange(length, device=like.device) + 0.5) / length
    return (centres >= start) & (centres <= start + share)


def view_loss_share(reading: Reading, share: float) -> Reading:
    """This share of the columns is lost, from the left or from the right."""
    from_left = reading.uniform(1).item() < 0.5
    start = 0.0 if from_left else 1 - share
    height, width = reading.value.shape[-2:]
    lost = _band(width, start, share, reading.value)
    return lose(reading, lost.expand(height, -1))


def noise_grey(reading: Reading, sigma: float) -> Reading:
    """Gaussian noise of this many grey levels on every value."""
    return replace(
        reading, value=reading.value + sigma * reading.normal(*reading.value.shape)
    )


def noise_per_m(reading: Reading, factor: float) -> Reading:
    """Gaussian noise of ``factor`` x depth²: stereo's, constant in disparity."""
    depth_m = reading.value
    noisy_m = depth_m + factor * depth_m**2 * reading.normal(*depth_m.shape)
    far_m = reading.spec.channels[0].high
    noisy_m = noisy_m.clamp(min=0.1).clamp(max=far_m)
    return replace(reading, value=torch.where(depth_m > 0, noisy_m, depth_m))


def fog_image_visibility_m(reading: Reading, visibility_m: float) -> Reading:
    """Contrast fades to a bright grey with exp(-3.912 depth / visibility).

    Koschmieder's law, with the depth map of the scene if there is one.
    """
    depth_m: Tensor | float = TYPICAL_DEPTH_M
    if reading.depth_m is not None:
        depth_m = filled(reading.depth_m)
    clear = torch.as_tensor(-KOSCHMIEDER / visibility_m * depth_m).exp()
    faded = reading.value * clear + FOG_GREY * (1 - clear)
    return replace(reading, value=faded)


def filled(depth_m: Tensor) -> Tensor:
    """A depth map (1, H, W) whose holes have their row's median; sky is far away."""
    seen = torch.where(depth_m > 0, depth_m, torch.nan)
    median = seen.nanmedian(dim=2, keepdim=True).values.nan_to_num(SKY_DEPTH_M)
    return torch.where(depth_m > 0, depth_m, median)


def fog_depth_visibility_m(reading: Reading, visibility_m: float) -> Reading:
    """Pixels beyond 30 to 100 % of the visibility find no match."""
    limit_m = visibility_m * (0.3 + 0.7 * reading.uniform(*reading.value.shape))
    return lose(reading, reading.value > limit_m)


def rain_image_share(reading: Reading, share: float) -> Reading:
    """Bright falling streaks over this share of the pixels, and less contrast."""
    height, width = reading.value.shape[-2:]
    length = max(3, height // 8) | 1
    drops = reading.uniform(1, 1, height, width)
    # Where a drop of the exposure's last moments passed.
    streaks = F.max_pool2d(
        F.pad(drops, (0, 0, length - 1, 0)), (length, 1), stride=1
    ).squeeze(0)
    hit = streaks > (1 - share) ** (1 / length)
    dull = (reading.value - 110) * (1 - share) + 110
    return replace(reading, value=torch.where(hit, 0.5 * dull + 0.5 * 220, dull))


def rain_depth_share(reading: Reading, share: float) -> Reading:
    """Blotches with this share of the area, where drops blur the picture, are lost."""
    height, width = reading.value.shape[-2:]
    coarse = reading.uniform(1, 1, max(height // 8, 2), max(width // 8, 2))
    smooth = F.interpolate(coarse, (height, width), mode="bilinear")[0, 0]
    return lose(reading, smooth <= torch.quantile(smooth, share))


def misaligned_deg(reading: Reading, angle: float) -> Reading:
    """The sensor is turned by this angle in a random direction, and rolled by half."""
    way, roll = (2 * math.pi * reading.uniform(2)).tolist()
    focal_px, u0, v0 = reading.lens()
    shift_px = focal_px * math.tan(math.radians(angle))
    turn = math.radians(angle) / 2 * (1 if roll < math.pi else -1)
    cos, sin = math.cos(turn), math.sin(turn)
    du, dv = shift_px * math.cos(way), shift_px * math.sin(way)
    matrix = [
        [cos, -sin, u0 - cos * u0 + sin * v0 + du],
        [sin, cos, v0 - sin * u0 - cos * v0 + dv],
    ]
    return replace(reading, value=resample(reading, matrix))


def late_m(reading: Reading, travelled: float) -> Reading:
    """Seen before the vehicle drove this far: smaller, and farther.

    The scene is taken to be ``TYPICAL_DEPTH_M`` away; depth grows by the way.
    """
    zoom = (TYPICAL_DEPTH_M + travelled) / TYPICAL_DEPTH_M
    _, u0, v0 = reading.lens()
    value = resample(reading, [[zoom, 0, u0 * (1 - zoom)], [0, zoom, v0 * (1 - zoom)]])
    if reading.spec.kind == "depth":
        farther_m = value + travelled
        seen = (value > 0) & (farther_m <= reading.spec.channels[0].high)
        value = torch.where(seen, farther_m, 0.0)
    return replace(reading, value=value)


def resample(reading: Reading, matrix: list[list[float]]) -> Tensor:
    """The reading at pixels moved by (2, 3) ``matrix``; nothing beyond its edge."""
    value = reading.value
    height, width = value.shape[-2:]
    v, u = torch.meshgrid(
        torch.arange(height, device=value.device, dtype=torch.float32),
        torch.arange(width, device=value.device, dtype=torch.float32),
        indexing="ij",
    )
    x, y = (row[0] * u + row[1] * v + row[2] for row in matrix)
    grid = torch.stack(
        [2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], dim=-1
    )
    mode = "nearest" if reading.spec.kind == "depth" else "bilinear"
    return F.grid_sample(value[None], grid[None], mode=mode, align_corners=True)[0]
