"""Feature pyramids, what branches deliver and fusion necks take and return.

Shape letters: N frames, S sensors, C channels, H_l, W_l size of pyramid level l.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

Pyramid = tuple[Tensor, ...]
"""One (N, C, H_l, W_l) tensor per level."""


@dataclass(frozen=True, kw_only=True)
class PyramidShape:
    """What the sensors' pyramids are like, and what shall be made of them.

    Attributes:
        sensors: Names of the S sensors, in the order of the config.
        in_channels: Channels of each sensor's pyramid, the same at every level.
        num_levels: Number of pyramid levels.
        out_channels: Channels of the pyramids that the heads look at.
    """

    sensors: tuple[str, ...]
    in_channels: int
    num_levels: int
    out_channels: int

    def __post_init__(self) -> None:
        if len(self.sensors) < 2 or len(set(self.sensors)) != len(self.sensors):
            raise ValueError(
                "fusion needs at least two sensors with different names, got "
                f"{list(self.sensors)}"
            )
