"""A sheet: a matplotlib figure laid out from the top in whole pixels.

One figure without axes holds a whole sheet: pictures are pasted pixel by pixel, and
matplotlib draws lines, boxes and text over them. Axes would cost a quarter of a second
a sheet. Positions are x, y in pixels from the upper left corner; blocks are drawn one
below the other, so that the height is known at the end, when ``rendered`` asks for it.

Shape letters: M polylines.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, Bbox, TransformedBbox
from PIL import Image

from perception.core.files import replacing
from perception.core.structures import DataError
from perception.visualization.style import (
    BLACK,
    BOX_STYLES,
    FAINT_INK,
    FONT,
    INK,
    NO_RETURN,
    ON_DARK,
    RULE,
    ColourScale,
    LineStyle,
    Rgb,
    unit_rgb,
)

MIN_WIDTH = 320
_DPI = 72  # a point is a pixel
_MIN_TEXT_PX = 9
_CASING_ALPHA = 0.6  # of the dark casing under a line


class Area(NamedTuple):
    """A rectangle of a sheet: its upper left corner and its size in pixels."""

    x: int
    y: int
    width: int
    height: int

    @property
    def bottom(self) -> int:
        """Just below it."""
        return self.y + self.height


class Sheet:
    """A figure that grows downwards.

    Args:
        width: In pixels.
        margin: Free space at the left and right, by default a gap.

    Attributes:
        text_px: Size of its text: 16 px at a width of 1600, never below 9.
        fine_px: Size of secondary text.
        tiny_px: Size of text in small pictures.
        gap: Space between what it shows.
        left: Where its content begins.
        inner: Width of its content.
    """

    def __init__(self, width: int, *, margin: int | None = None) -> None:
        self.width = width
        self.text_px = max(_MIN_TEXT_PX, round(width / 100))
        self.fine_px = max(_MIN_TEXT_PX, round(0.82 * self.text_px))
        self.tiny_px = max(_MIN_TEXT_PX, round(0.7 * self.text_px))
        self.gap = max(4, round(0.75 * self.text_px))
        self.left = self.gap if margin is None else margin
        self.inner = width - 2 * self.left
        self.figure = Figure(dpi=_DPI, facecolor="white")
        self._from_top = Affine2D()
        self._pictures: list[tuple[int, int, np.ndarray]] = []

    def columns(self, count: int, indent: int = 0) -> list[tuple[int, int]]:
        """x and width of so many equal columns across the content."""
        edges = (
            np.linspace(indent, self.inner + self.gap, count + 1).round().astype(int)
        )
        widths = np.maximum(1, np.diff(edges) - self.gap)
        pairs = zip(edges[:-1].tolist(), widths.tolist(), strict=True)
        return [(self.left + x, width) for x, width in pairs]

    @property
    def strip_height(self) -> int:
        """Height of the strip that ``titled`` draws."""
        return max(6, round(0.6 * self.fine_px)) + line_height(self.fine_px) + 6

    def picture(self, x: int, y: int, rgb: np.ndarray) -> Area:
        """Paste (H, W, 3) uint8; what lies beyond the right edge is cut."""
        self._pictures.append((x, y, rgb))
        return Area(x, y, rgb.shape[1], rgb.shape[0])

    def fill(self, area: Area, colour: Rgb, alpha: float = 1.0) -> None:
        """A filled rectangle, over pictures."""
        patch = Rectangle(
            area[:2], *area[2:], facecolor=unit_rgb(colour), lw=0, alpha=alpha
        )
        self._add(patch)

    def text(
        self,
        xy: tuple[float, float],
        text: str,
        px: float,
        colour: Rgb = INK,
        *,
        bold: bool = False,
        align: str = "left",
        rotation: float = 0,
        clip: Area | None = None,
    ) -> float:
        """One line of text from its upper edge; returns its width in pixels.

        Turned text is centred on ``xy``.
        """
        x, y = xy
        self._add(
            Text(
                round(x),
                y if rotation else round(y) + round(0.93 * px),
                _printable(text),
                color=unit_rgb(colour),
                fontproperties=_font(px, bold),
                ha=align,
                va="center" if rotation else "baseline",
                rotation=rotation,
                parse_math=False,
            ),
            clip=clip,
        )
        return text_width(text, px, bold=bold)

    def lines(
        self,
        paths: Sequence[np.ndarray] | np.ndarray,
        style: LineStyle,
        *,
        clip: Area | None = None,
        alpha: float = 1.0,
        smooth: bool = True,
    ) -> None:
        """Draw polylines (M of (K, 2) x, y in pixels); not finite ones not."""
        paths = [path for path in paths if np.isfinite(path).all()]
        if not paths:
            return
        casing = [(style.thickness_px + 2, BLACK, _CASING_ALPHA)] if style.cased else []
        for thickness, colour, opacity in (
            *casing,
            (style.thickness_px, style.colour, alpha),
        ):
            # Matplotlib multiplies dashes by the thickness.
            dash: Any = "solid"
            if style.dash_px is not None:
                dash = (0, tuple(part / thickness for part in style.dash_px))
            self._add(
                LineCollection(
                    paths,
                    linewidths=thickness,
                    colors=[unit_rgb(colour)],
                    linestyles=[dash],
                    antialiaseds=smooth,
                    alpha=opacity,
                    capstyle="butt",
                ),
                clip=clip,
            )

    def titled(
        self,
        x: int,
        y: int,
        width: int,
        title: str,
        *,
        note: str = "",
        keys: Sequence[tuple[str, Rgb]] = (),
        scale: ColourScale | None = None,
        swatch: Rgb | None = None,
    ) -> int:
        """A strip with a title, fainter words and a colour bar; returns its lower end.

        Where it is narrow, words and bar are left out and the title is cut. Strips of
        a sheet are equally high, with or without a colour bar.

        Args:
            x: Left edge.
            y: Upper edge.
            width: In pixels.
            title: Of what is below.
            note: Fainter words after it.
            keys: Words with squares in their colours after those; more important than
                the colour bar.
            scale: For the colour bar.
            swatch: Colour of a square before the title.
        """
        bottom, right, px = y + self.strip_height, x + width, self.fine_px
        told = sum(text_width(text, px) + 3 * px for text, _ in keys)
        told += text_width(title, self.text_px, bold=True)
        fits = not keys or width - told >= 26 * px
        if scale is not None and width >= 16 * px and fits:
            right = self._colour_bar(x, y + 1, width, scale) - 2 * self.fine_px
        top = bottom - line_height(self.text_px) - 3
        if swatch is not None:
            side = round(0.8 * self.text_px)
            middle = top + (line_height(self.text_px) - side) // 2
            self.fill(Area(x, middle, side, side), swatch)
            x += side + self.text_px // 2
        title = shorten(title, right - x, self.text_px, bold=True)
        wide = self.text((x, top), title, self.text_px, bold=True)
        x += round(wide) + self.text_px
        top = bottom - line_height(px) - 4
        for text, colour in [(note, None), *keys]:
            wide = text_width(text, px) + (0 if colour is None else 1.3 * px)
            if not text or x + wide > right:
                continue
            if colour is not None:
                self.fill(Area(x, top + px // 4, px - 2, px - 2), colour)
                x += round(1.3 * px)
            x += round(self.text((x, top), text, px, FAINT_INK)) + px
        return bottom

    def _colour_bar(self, x: int, y: int, width: int, scale: ColourScale) -> int:
        """A bar with ticks below and the unit to its right, flush right; its left."""
        px, high = self.fine_px, max(6, round(0.6 * self.fine_px))
        wide = min(22 * px, width // 3)
        unit = text_width(scale.unit, px) + px
        last = text_width(scale.tick_label(scale.high), px) / 2
        left = x + width - round(max(unit, last)) - wide
        steps = np.linspace(scale.low, scale.high, wide)
        if scale.log:
            steps = np.geomspace(scale.low, scale.high, wide)
        bar = np.full((high + 2, wide + 2, 3), FAINT_INK, dtype=np.uint8)
        bar[1:-1, 1:-1] = scale.colours(scale.levels(steps))
        self.picture(left - 1, y - 1, bar)
        self.text(
            (left + wide + px / 2, y + (high - line_height(px)) / 2),
            *(scale.unit, px, FAINT_INK),
        )
        free_from = -np.inf
        for tick in scale.ticks():
            label = scale.tick_label(tick)
            at = left + float(scale.fractions(np.array(tick))) * (wide - 1)
            half = text_width(label, px) / 2
            if at - half >= free_from:
                free_from = at + half + px / 3
                self.text((at, y + high + 2), label, px, FAINT_INK, align="center")
        return left

    def headline(self, title: str, subtitle: str = "") -> int:
        """Title, fainter text at its right, and a rule; returns where content begins."""
        px, top = round(1.35 * self.text_px), self.gap
        title = shorten(title, self.inner, px, bold=True)
        used = self.text((self.left, top), title, px, bold=True) + px
        subtitle = shorten(subtitle, self.inner - used, self.text_px)
        beside = top + line_height(px) - line_height(self.text_px)
        right = self.left + self.inner
        self.text((right, beside), subtitle, self.text_px, FAINT_INK, align="right")
        y = top + line_height(px) + self.gap // 2
        self.fill(Area(self.left, y, self.inner, 1), RULE)
        return y + self.gap

    def facts(
        self, x: int, y: int, width: int, facts: Sequence[tuple[str, str]]
    ) -> int:
        """Lines of ``name value`` pairs, names faint, values bold; their lower end.

        A value without a name is faint itself.
        """
        px, pitch, at = self.text_px, round(1.25 * line_height(self.text_px)), 0.0
        for name, value in facts:
            value_at = text_width(f"{name}  ", px) if name else 0
            value = shorten(value, width - value_at, px, bold=bool(name))
            wide = value_at + text_width(value, px, bold=bool(name))
            if at and at + wide > width:
                at, y = 0, y + pitch
            self.text((x + at, y), name, px, FAINT_INK)
            ink = INK if name else FAINT_INK
            self.text((x + at + value_at, y), value, px, ink, bold=bool(name))
            at += wide + 2 * px
        return y + pitch if facts else y

    def placeholder(
        self,
        area: Area,
        message: str,
        *,
        ground: Rgb = NO_RETURN,
        ink: Rgb = (190, 192, 200),
    ) -> None:
        """An area that says why there is nothing."""
        self.fill(area, ground)
        text = shorten(message, area.width - self.text_px, self.text_px)
        y = area.y + (area.height - line_height(self.text_px)) / 2
        middle = (area.x + area.width / 2, y)
        self.text(middle, text, self.text_px, ink, align="center")

    def box_legend(self, x: int, y: int, width: int, statuses: Sequence[str]) -> int:
        """What each box style means; returns its lower end."""
        styles = [BOX_STYLES[status] for status in statuses]
        return self.legend(x, y, width, [(style.label, style) for style in styles])

    def legend(
        self, x: int, y: int, width: int, entries: Sequence[tuple[str, LineStyle | Rgb]]
    ) -> int:
        """Lines and squares with their meaning, on dark ground; returns its end."""
        px = self.fine_px
        pitch, places, left, top = round(1.6 * line_height(px)), [], px, 0
        for label, mark in entries:
            sample = 3 * px if isinstance(mark, LineStyle) else px
            end = left + sample + px // 2 + text_width(label, px)
            if end > width and left > px:
                end, left, top = end - left + px, px, top + pitch
            places.append((label, mark, left, sample, top))
            left = round(end + 2 * px)
        area = Area(x, y, width, top + pitch)
        self.fill(area, NO_RETURN)
        for label, mark, left, sample, top in places:
            middle = y + top + pitch // 2
            if isinstance(mark, LineStyle):
                ends = np.array([[x + left, middle], [x + left + sample, middle]])
                self.lines([ends + 0.5 * (mark.thickness_px % 2)], mark)
            else:
                self.fill(Area(x + left, middle - px // 2, px, px), mark)
            place = (x + left + sample + px // 2, middle - line_height(px) / 2)
            self.text(place, label, px, ON_DARK, clip=area)
        return area.bottom

    def rendered(self, height: int) -> np.ndarray:
        """The finished sheet, (height, width, 3) uint8 RGB."""
        height = max(1, round(height))
        self.figure.set_size_inches(self.width / _DPI, height / _DPI)
        self._from_top.clear().scale(1, -1).translate(0, height)
        ground = np.full((height, self.width, 3), 255, dtype=np.uint8)
        for x, y, rgb in self._pictures:
            area = ground[y : y + rgb.shape[0], x : x + rgb.shape[1]]
            area[:] = rgb[: area.shape[0], : area.shape[1]]
        self.figure.figimage(ground, zorder=-1)
        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def _add(self, artist: Artist, *, clip: Area | None = None) -> None:
        artist.set_transform(self._from_top)
        self.figure.add_artist(artist, clip=False)
        artist.set_zorder(1)
        if clip is not None:
            box = Bbox.from_bounds(*clip)
            artist.set_clip_box(TransformedBbox(box, self._from_top))
            artist.set_clip_on(True)


def line_height(px: float) -> int:
    """Height in pixels of one line of text."""
    return round(1.17 * px)


@lru_cache(maxsize=4096)
def text_width(text: str, px: float, *, bold: bool = False) -> float:
    """Width in pixels of the text as sheets set it."""
    renderer = RendererAgg(1, 1, _DPI)
    return renderer.get_text_width_height_descent(
        _printable(text), _font(px, bold), False
    )[0]


def shorten(text: str, width: float, px: float, *, bold: bool = False) -> str:
    """The text, cut with an ellipsis where it is wider than ``width`` pixels."""
    if text_width(text, px, bold=bold) <= width:
        return text
    cuts = (text[:end].rstrip() + "…" for end in range(len(text) - 1, 0, -1))
    return next((cut for cut in cuts if text_width(cut, px, bold=bold) <= width), "")


def write_picture(path: str | os.PathLike, rgb: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as PNG or, named ``.webp``, as lossy WebP.

    Raises:
        DataError: If it cannot be written.
    """
    webp = str(path).endswith(".webp")
    with replacing(path) as temporary:
        try:
            picture = Image.fromarray(rgb)
            if webp:
                picture.save(temporary, "WEBP", quality=80, method=2)
            else:
                picture.save(temporary, "PNG", compress_level=6)
        except (KeyError, ValueError) as error:
            raise DataError(f"{path}: cannot write the picture: {error}") from error


@lru_cache(maxsize=64)
def _font(px: float, bold: bool) -> FontProperties:
    return FontProperties(family=FONT, size=px, weight="bold" if bold else "normal")


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(_font(12, False))).get_charmap())


@lru_cache(maxsize=4096)
def _printable(text: str) -> str:
    """The text with a replacement mark for what the font cannot show."""
    return "".join(
        c if c.isprintable() and ord(c) in _glyphs() else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )
