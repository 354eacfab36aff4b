"""What a triangle is made of: colour for cameras, reflectance for the LiDAR, texture.

The textures are procedural, in one atlas with mip levels.

Shape letters: K textures, S texels a side, N samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import cv2
import numpy as np

SIDE = 256
FACADES = 8
POSTERS = 8
TEXTURES = (
    *("plain", "asphalt", "paving", "grass", "brick"),
    *("plaster", "leaves", "stripes", "checks", "planks"),
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
        texture, light = TEXTURES.index(self.texture), (self.reflectance, self.gloss)
        row = [*self.colour, texture, *light, self.emission, self.mirror]
        return np.array(row, dtype=np.float32)


GLASS = Surface((0.02, 0.025, 0.03), reflectance=0.03, gloss=0.9)
RUBBER = Surface((0.015, 0.015, 0.016), reflectance=0.04)
CHROME = Surface((0.45, 0.46, 0.48), reflectance=0.35, gloss=0.4)
STEEL_MIRROR = Surface((0.85, 0.87, 0.9), reflectance=0.02, gloss=1.0, mirror=True)


def _noise(rng: np.random.Generator, octaves: tuple[int, ...]) -> np.ndarray:
    """(S, S) tileable value noise with zero mean and unit deviation."""
    total = np.zeros((SIDE, SIDE), np.float32)
    for cells in octaves:
        grid = rng.standard_normal((cells, cells)).astype(np.float32)
        grid = np.pad(grid, 2, mode="wrap")
        scale = SIDE // cells
        wide = cv2.resize(grid, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        total += wide[2 * scale : 2 * scale + SIDE, 2 * scale : 2 * scale + SIDE]
    return (total - total.mean()) / total.std()


def _grey(pattern: np.ndarray, glass: np.ndarray | float = 0.0) -> np.ndarray:
    """(S, S, 4) RGBA in 0 … 1 from a brightness pattern; alpha marks glass."""
    rgb = np.repeat(pattern[..., None], 3, -1)
    alpha = np.broadcast_to(np.asarray(glass, np.float32), pattern.shape)[..., None]
    return np.concatenate([rgb, alpha], -1)


def _bricks(
    rng: np.random.Generator, rows: int, columns: int, joint: int
) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    height, width = SIDE // rows, SIDE // columns
    row = y // height
    shifted = x + (row % 2) * (width // 2)
    tone = rng.uniform(0.65, 1.0, (rows, columns))
    pattern = tone[row % rows, (shifted // width) % columns]
    seam = (y % height < joint) | (shifted % width < joint)
    return np.where(seam, 0.5, pattern) + 0.03 * _noise(rng, (64, 128))


def _facade(rng: np.random.Generator) -> np.ndarray:
    """One bay of a house front: wall, window with frame, sill and curtain."""
    kind = rng.integers(3)
    if kind == 0:
        wall = _bricks(rng, 32, 8, 2)
    else:
        wall = 0.85 + 0.05 * _noise(rng, (8, 32, 128))
    if kind == 2:
        wall[::32] *= 0.7
    picture = _grey(wall.astype(np.float32))
    left, bottom = rng.integers(35, 85), rng.integers(50, 95)
    right, top = SIDE - left, rng.integers(200, 236)
    frame = rng.uniform(0.25, 1.0)
    picture[bottom - 14 : bottom - 4, left - 14 : right + 14, :3] = 0.7
    picture[bottom - 6 : top + 6, left - 6 : right + 6, :3] = frame
    shade = np.linspace(0.06, 0.22, top - bottom)[:, None, None]
    picture[bottom:top, left:right, :3] = shade
    picture[bottom:top, left:right, 3] = 1.0
    if rng.random() < 0.5:
        curtain = left + (right - left) * rng.integers(15, 40) // 100
        picture[bottom:top, left:curtain, :3] = 0.45
    middle = (left + right) // 2
    picture[bottom:top, middle - 3 : middle + 3, :3] = frame
    picture[bottom:top, middle - 3 : middle + 3, 3] = 0
    bar_v = bottom + (top - bottom) * 2 // 3
    if rng.random() < 0.6:
        picture[bar_v - 3 : bar_v + 3, left:right, :3] = frame
        picture[bar_v - 3 : bar_v + 3, left:right, 3] = 0
    return picture


def _paint_all() -> np.ndarray:
    """(K, S, S, 4) float textures in 0 … 1, the same in every process."""
    rng = np.random.default_rng(20240229)
    y, x = np.mgrid[:SIDE, :SIDE]
    plain = {
        "plain": np.ones((SIDE, SIDE)),
        "asphalt": 0.75
        + 0.07 * _noise(rng, (4, 16, 64, 128))
        + 0.05 * _noise(rng, (128,)),
        "paving": _bricks(rng, 8, 8, 2) * 0.9,
        "grass": 0.65 + 0.14 * _noise(rng, (8, 32, 128)) + 0.08 * _noise(rng, (128,)),
        "brick": _bricks(rng, 32, 8, 2),
        "plaster": 0.88 + 0.06 * _noise(rng, (2, 4, 16, 64, 128)),
        "leaves": 0.55 + 0.22 * _noise(rng, (16, 32, 64)) + 0.08 * _noise(rng, (128,)),
        "stripes": np.where(y % 64 < 32, 1.0, 0.35),
        "checks": 0.5 + 0.25 * (x % 64 < 32) + 0.25 * (y % 64 < 32),
        "planks": np.where(x % 32 < 3, 0.35, 0.8) + 0.05 * _noise(rng, (4, 16, 64)),
    }
    pictures = [_grey(np.asarray(plain[name], np.float32)) for name in plain]
    pictures += [_facade(rng) for _ in range(FACADES)]
    pictures += [_grey(np.full((SIDE, SIDE), 0.8, np.float32)) for _ in range(POSTERS)]
    assert len(pictures) == len(TEXTURES)
    return np.clip(np.stack(pictures), 0, 1).astype(np.float32)


@dataclass(frozen=True)
class Atlas:
    """All textures at all mip levels, flat.

    Attributes:
        texels: (sum of K·S_l·S_l, 4) uint8 RGBA; alpha marks window glass.
        offsets: (L,) start of each level.
        sides: (L,) texels a side of each level.
    """

    texels: np.ndarray
    offsets: np.ndarray
    sides: np.ndarray

    def sample(self, texture: np.ndarray, uv: np.ndarray, texels: np.ndarray):
        """(4, N) float32 RGBA, 0 … 1: nearest texel of the mip level that fits.

        Args:
            texture: (N,) int32 texture indices.
            uv: (2, N) coordinates in repeats; v runs upwards.
            texels: (N,) how many finest texels one pixel covers.
        """
        level = np.log2(np.maximum(texels, 1)).astype(np.int32)
        np.minimum(level, len(self.sides) - 1, out=level)
        side = self.sides.take(level)
        shift = (uv - np.floor(uv)) * side.astype(np.float32)
        column, row = shift.astype(np.int32)
        # Rounding may reach the far edge, which belongs to the next repeat.
        np.minimum(column, side - 1, out=column)
        np.minimum(row, side - 1, out=row)
        index = self.offsets.take(level) + (texture * side + row) * side + column
        # Four bytes at once: gathering dwarfs everything else here.
        rgba = self.texels.view(np.uint32)[:, 0].take(index)
        rgba = rgba.view(np.uint8).reshape(-1, 4).T.astype(np.float32)
        rgba *= np.float32(1 / 255)
        return rgba


def build_atlas(posters: np.ndarray | None = None) -> Atlas:
    """The atlas; ``posters`` (POSTERS, S, S, 3) in 0 … 1 fill the poster slots."""
    pictures = _paint_all()
    if posters is not None:
        pictures[-len(posters) :, ..., :3] = posters[:, ::-1]
    levels = []
    side = SIDE
    while side >= 2:
        levels.append((pictures * 255 + 0.5).astype(np.uint8))
        count = len(pictures)
        side //= 2
        pictures = pictures.reshape(count, side, 2, side, 2, 4).mean((2, 4))
    sides = np.array([level.shape[1] for level in levels], np.int32)
    sizes = np.array([level.shape[0] * level.shape[1] ** 2 for level in levels])
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    return Atlas(
        np.concatenate([level.reshape(-1, 4) for level in levels]), offsets, sides
    )
