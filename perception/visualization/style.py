"""Colours, line styles, colour scales and fonts: one meaning each, in every picture.

All colours are RGB. Categories use the palette of Okabe and Ito (2008), told apart
by readers with any common colour vision; what a box means is also told by its line
style. Quantities use perceptually uniform maps, differences a blue–dark–orange map
whose lightness grows with the size of the difference.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import LogLocator, MaxNLocator

from perception.core.gate_state import ALARM, NOBODY

Rgb = tuple[int, int, int]

ORANGE: Rgb = (230, 159, 0)
SKY_BLUE: Rgb = (86, 180, 233)
GREEN: Rgb = (0, 158, 115)
YELLOW: Rgb = (240, 228, 66)
BLUE: Rgb = (0, 114, 178)
VERMILLION: Rgb = (213, 94, 0)
PURPLE: Rgb = (204, 121, 167)
WHITE: Rgb = (255, 255, 255)
BLACK: Rgb = (0, 0, 0)
GREY: Rgb = (150, 150, 150)

INK: Rgb = (28, 30, 36)
FAINT_INK: Rgb = (96, 100, 110)
RULE: Rgb = (205, 208, 214)
TRACK: Rgb = (236, 238, 242)
NO_RETURN: Rgb = (26, 27, 32)
ON_DARK: Rgb = (225, 225, 225)
GUIDE: Rgb = (84, 87, 97)
ARROW: Rgb = SKY_BLUE  # where an attack moved an object
REGION: Rgb = (255, 150, 215)  # which no attack on one sensor moves an object out of

FONT = "DejaVu Sans"  # comes with matplotlib: the same on every machine
DPI = 72  # a point is a pixel

_SENSOR_COLOURS: Mapping[str, Rgb] = {
    "camera": BLUE,
    "lidar": ORANGE,
    "depth": PURPLE,
    "radar": SKY_BLUE,
}
# Tol's "muted" scheme, without the hues that the palette above already uses.
_OTHER_SENSORS: tuple[Rgb, ...] = (
    (51, 34, 136),
    (136, 34, 85),
    (153, 153, 51),
    (221, 204, 119),
    (170, 68, 153),
    (17, 119, 51),
)

# What became of a point, from above and in a map of points. Moved ones are nearly
# white: yellow boxes were missed, and the points themselves are grey.
CHANGE_COLOURS: Mapping[str, Rgb] = {
    "moved": (248, 246, 240),
    "added": VERMILLION,
    "removed": SKY_BLUE,
}


def sensor_colour(name: str) -> Rgb:
    """The colour of a sensor: depends on its name alone, so it never changes.

    ``"none"`` (the gate's "no sensor disagrees") is grey, ``"alarm"`` (one that is not
    attributed to a sensor) yellow.
    """
    if name in (NOBODY, ALARM):
        return GREY if name == NOBODY else YELLOW
    if name in _SENSOR_COLOURS:
        return _SENSOR_COLOURS[name]
    return _OTHER_SENSORS[zlib.crc32(name.encode()) % len(_OTHER_SENSORS)]


def unit_rgb(colour: Rgb) -> tuple[float, float, float]:
    """A colour as matplotlib takes it."""
    red, green, blue = colour
    return red / 255, green / 255, blue / 255


def text_colour_on(colour: Rgb) -> Rgb:
    """Ink or white, whichever reads better on ``colour``."""
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return INK if luminance > 140 else WHITE


@dataclass(frozen=True)
class LineStyle:
    """How a box is drawn.

    Attributes:
        label: What the style means, for legends.
        colour: Colour of the line.
        dash_px: Length of stroke and gap in pixels, None for a solid line.
        thickness_px: Width of the line.
        tagged: Whether the box carries its class (and score).
        cased: Whether a dark casing lifts the line off the picture.
    """

    label: str
    colour: Rgb
    dash_px: tuple[float, float] | None = None
    thickness_px: float = 3
    tagged: bool = True
    cased: bool = True

    def between(self, low_px: float, high_px: float) -> LineStyle:
        """The same style with a line not thinner and not thicker than that."""
        thickness_px = min(max(self.thickness_px, low_px), high_px)
        return replace(self, thickness_px=thickness_px)


BOX_STYLES: Mapping[str, LineStyle] = {
    "ground_truth": LineStyle("ground truth", WHITE, thickness_px=1),
    "correct": LineStyle("correct", GREEN),
    "false": LineStyle("false", VERMILLION, dash_px=(9, 6)),
    "missed": LineStyle("missed", YELLOW, dash_px=(3, 4)),
    "detected": LineStyle("detected, not judged", SKY_BLUE, dash_px=(14, 3)),
    "ignored": LineStyle("ignored", GREY, thickness_px=1, tagged=False, cased=False),
}


@dataclass(frozen=True)
class ColourScale:
    """Maps values with a unit to colours; what a colour bar shows.

    Attributes:
        low: Value at the low end; values below take its colour.
        high: Value at the high end.
        unit: Unit as people write it.
        colour_map: ``viridis``, ``height`` (the light part of plasma, for dots on
            dark ground), ``grey`` or ``diverging``.
        log: Equal colour steps are equal ratios (needs ``low > 0``).
        low_is_bright: Run the map backwards, so that near is bright.
    """

    low: float
    high: float
    unit: str
    colour_map: str = "viridis"
    log: bool = False
    low_is_bright: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"colour scale cannot span [{self.low}, {self.high}]")

    def fractions(self, values: np.ndarray) -> np.ndarray:
        """Position of each value between low (0) and high (1), clipped."""
        values = np.clip(np.asarray(values, dtype=np.float32), self.low, self.high)
        if self.log:
            span = math.log(self.high / self.low)
            return np.log(values / np.float32(self.low)) / np.float32(span)
        return (values - np.float32(self.low)) / np.float32(self.high - self.low)

    def levels(self, values: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """uint8 levels of the same shape: 1 … 255, and 0 where there is no value.

        A brighter colour has the higher level, except on a diverging scale, whose
        level 128 means zero.
        """
        finite = np.isfinite(values)
        valid = finite if valid is None else finite & valid
        fractions = self.fractions(np.where(valid, values, self.low))
        if self.low_is_bright:
            fractions = 1 - fractions
        return np.where(valid, np.rint(1 + 254 * fractions), 0).astype(np.uint8)

    def colours(self, levels: np.ndarray) -> np.ndarray:
        """(…, 3) uint8 RGB of levels (…)."""
        return _colour_table(self.colour_map)[levels]

    def ticks(self) -> list[float]:
        """Three to six round values on the scale, for its colour bar."""
        if self.log:
            ticks = LogLocator(subs=(1, 2, 5)).tick_values(self.low, self.high)
        else:
            locator = MaxNLocator(5, steps=[1, 2, 5, 10])
            ticks = locator.tick_values(self.low, self.high)
        slack = 1e-6 * (self.high - self.low)
        return [float(t) for t in ticks if self.low - slack <= t <= self.high + slack]

    def tick_label(self, value: float) -> str:
        """A tick as text; differences carry their sign."""
        signed = self.colour_map == "diverging" and value
        text = f"{value:+.6g}" if signed else f"{value:.6g}"
        return text.replace("-", "\N{MINUS SIGN}")


DEPTH_SCALE = ColourScale(3.0, 80.0, "m", log=True, low_is_bright=True)
HEIGHT_SCALE = ColourScale(-2.0, 2.0, "m", "height")


def difference_scale(limit: float, unit: str) -> ColourScale:
    """Diverging scale from ``-limit`` to ``limit``; a limit of 0 becomes 1."""
    limit = float(limit) if np.isfinite(limit) and limit > 0 else 1.0
    return ColourScale(-limit, limit, unit, "diverging")


def depth_scale_up_to(high_m: float) -> ColourScale:
    """The depth scale, ending at another distance."""
    return replace(DEPTH_SCALE, low=min(DEPTH_SCALE.low, high_m / 10), high=high_m)


@lru_cache
def _colour_table(name: str) -> np.ndarray:
    """(256, 3) uint8 RGB: index 0 is "no value", 1 … 255 the map."""
    if name == "diverging":
        stops = (-1.0, -0.5, 0.0, 0.5, 1.0)
        blues = [(178, 224, 255), (24, 116, 205)]
        oranges = [(204, 98, 0), (255, 219, 140)]
        tints = np.array([*blues, NO_RETURN, *oranges])
        steps = np.linspace(-1, 1, 255)
        colours = np.stack([np.interp(steps, stops, tint) for tint in tints.T], axis=1)
    elif name == "grey":
        colours = np.repeat(np.linspace(70, 200, 255)[:, None], 3, axis=1)
    else:
        colour_map, first = {"viridis": ("viridis", 0), "height": ("plasma", 70)}[name]
        steps = np.linspace(first, 255, 255) / 255
        colours = 255 * mpl.colormaps[colour_map](steps)[:, :3]
    table = np.vstack([NO_RETURN, np.rint(colours)]).astype(np.uint8)
    table.setflags(write=False)
    return table


def line_height(px: float) -> int:
    """Height in pixels of one line of text."""
    return round(1.17 * px)


@lru_cache(maxsize=4096)
def text_width(text: str, px: float, *, bold: bool = False) -> float:
    """Width in pixels of the text as sheets set it."""
    renderer = RendererAgg(1, 1, DPI)
    return renderer.get_text_width_height_descent(
        printable(text), font(px, bold), False
    )[0]


def shorten(text: str, width: float, px: float, *, bold: bool = False) -> str:
    """The text, cut with an ellipsis where it is wider than ``width`` pixels."""
    if len(text) <= width and text_width(text, px, bold=bold) <= width:
        return text
    low, high = 0, min(len(text), 1 + int(width))
    while low < high:
        middle = (low + high + 1) // 2
        cut = text[:middle].rstrip() + "…"
        fits = text_width(cut, px, bold=bold) <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low].rstrip() + "…" if low else ""


@lru_cache(maxsize=64)
def font(px: float, bold: bool) -> FontProperties:
    """The face of all text, ``px`` pixels high."""
    return FontProperties(family=FONT, size=px, weight="bold" if bold else "normal")


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(font(12, False))).get_charmap())


@lru_cache(maxsize=4096)
def printable(text: str) -> str:
    """The text with a replacement mark for what the font cannot show."""
    return "".join(
        c if c.isprintable() and ord(c) in _glyphs() else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )
