"""What a triangle is made of: colour for cameras, reflectance for the LiDAR."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np

FACADES = 8
POSTERS = 8
TEXTURES = (
    "plain",
    "asphalt",
    "paving",
    "grass",
    "brick",
    "plaster",
    "leaves",
    "stripes",
    "checks",
    "planks",
    *(f"facade_{i}" for i in range(FACADES)),
    *(f"poster_{i}" for i in range(POSTERS)),
)


class Column(IntEnum):
    """Columns of the (T, 8) surface table that meshes carry."""

    RED = 0
    GREEN = 1
    BLUE = 2
    TEXTURE = 3
    REFLECTANCE = 4
    GLOSS = 5
    EMISSION = 6
    MIRROR = 7


@dataclass(frozen=True)
class Surface:
    """One material.

    Attributes:
        colour: Linear RGB albedo, 0 … 1; multiplies the texture.
        texture: A name of ``TEXTURES``.
        reflectance: Diffuse reflectance at the LiDAR's 905 nm, 0 … 1.
        gloss: Share of mirror-like reflection, 0 (matt) … 1 (glass).
        emission: Radiance it gives off itself at night, in units of the colour.
        mirror: A true mirror: every sensor sees what it reflects.
    """

    colour: tuple[float, float, float]
    texture: str = "plain"
    reflectance: float = 0.3
    gloss: float = 0.0
    emission: float = 0.0
    mirror: bool = False

    @cached_property
    def row(self) -> np.ndarray:
        """(8,) float32, in the order of ``Column``."""
        return np.array(
            [
                *self.colour,
                TEXTURES.index(self.texture),
                self.reflectance,
                self.gloss,
                self.emission,
                self.mirror,
            ],
            dtype=np.float32,
        )


GLASS = Surface((0.02, 0.025, 0.03), reflectance=0.03, gloss=0.9)
RUBBER = Surface((0.015, 0.015, 0.016), reflectance=0.04)
CHROME = Surface((0.45, 0.46, 0.48), reflectance=0.35, gloss=0.4)
STEEL_MIRROR = Surface((0.85, 0.87, 0.9), reflectance=0.02, gloss=1.0, mirror=True)
