"""A sheet: a matplotlib figure laid out from the top in whole pixels.

One figure without axes holds a whole sheet (axes would cost a quarter of a second):
pictures are pasted pixel by pixel, and matplotlib draws lines, boxes and text over
them. Positions are x, y in pixels from the upper left corner. Columns fill from their
tops, so that the height is known at the end, when ``rendered`` asks for it.

Shape letters: M polylines.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, Bbox, TransformedBbox
from PIL import Image

from perception.core.files import replacing
from perception.core.structures import DataError
from perception.visualization.style import (
    BLACK,
    BOX_STYLES,
    DPI,
    FAINT_INK,
    INK,
    NO_RETURN,
    ON_DARK,
    RULE,
    ColourScale,
    LineStyle,
    Rgb,
    font,
    line_height,
    printable,
    shorten,
    text_width,
    unit_rgb,
)

MIN_WIDTH = 320
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
        gap: Space between what it shows.
        body: Its content, to draw in.
    """

    def __init__(self, width: int, *, margin: int | None = None) -> None:
        self.width = width
        self.text_px = max(_MIN_TEXT_PX, round(width / 100))
        self.fine_px = max(_MIN_TEXT_PX, round(0.82 * self.text_px))
        self.gap = max(4, round(0.75 * self.text_px))
        margin = self.gap if margin is None else margin
        self.body = Column(self, margin, margin, width - 2 * margin)
        self._figure = Figure(dpi=DPI, frameon=False)
        self._from_top = Affine2D()
        self._pictures: list[tuple[Area, np.ndarray]] = []

    def paste(self, x: int, y: int, rgb: np.ndarray) -> Area:
        """Place a picture (H, W, 3) uint8; what lies beyond the right edge is cut."""
        area = Area(x, y, rgb.shape[1], rgb.shape[0])
        self._pictures.append((area, rgb))
        return area

    def fill(self, area: Area, colour: Rgb, alpha: float = 1.0) -> None:
        """A filled rectangle, over pictures."""
        ink = unit_rgb(colour)
        self._add(Rectangle(area[:2], *area[2:], facecolor=ink, lw=0, alpha=alpha))

    def text(
        self,
        xy: tuple[float, float],
        text: str,
        px: float,
        colour: Rgb = INK,
        *,
        bold: bool = False,
        align: str = "left",
        upright: bool = False,
    ) -> float:
        """One line of text from its upper edge; returns its width in pixels.

        Upright text is centred on ``xy``.
        """
        x, y = xy
        artist = Text(
            round(x),
            y if upright else round(y) + round(0.93 * px),
            printable(text),
            color=unit_rgb(colour),
            fontproperties=font(px, bold),
            ha=align,
            va="center" if upright else "baseline",
            rotation=90 * upright,
            parse_math=False,
        )
        self._add(artist)
        return text_width(text, px, bold=bold)

    def lines(
        self,
        paths: Sequence[np.ndarray] | np.ndarray,
        style: LineStyle,
        *,
        clip: Area | None = None,
        alpha: float = 1.0,
    ) -> None:
        """Draw polylines (M of (K, 2) x, y in pixels); not finite ones not."""
        paths = [path for path in paths if np.isfinite(path).all()]
        strokes = [(style.thickness_px, style.colour, alpha)]
        if style.cased:
            strokes.insert(0, (style.thickness_px + 2, BLACK, _CASING_ALPHA))
        for thickness, colour, opacity in strokes if paths else ():
            dash: Any = "solid"
            if style.dash_px is not None:  # matplotlib multiplies by the thickness
                dash = (0, tuple(part / thickness for part in style.dash_px))
            artist = LineCollection(
                paths,
                linewidths=thickness,
                colors=[unit_rgb(colour)],
                linestyles=[dash],
                alpha=opacity,
                capstyle="butt",
            )
            self._add(artist, clip)

    def rendered(self, height: int) -> np.ndarray:
        """The finished sheet, (height, width, 3) uint8 RGB."""
        height = max(1, height)
        self._figure.set_size_inches(self.width / DPI, height / DPI)
        self._from_top.clear().scale(1, -1).translate(0, height)
        renderer = FigureCanvasAgg(self._figure).get_renderer()
        ground = np.asarray(renderer.buffer_rgba())
        ground[:] = 255
        for (x, y, *_), rgb in self._pictures:
            place = ground[y : y + rgb.shape[0], x : x + rgb.shape[1], :3]
            place[:] = rgb[: place.shape[0], : place.shape[1]]
        self._figure.draw(renderer)
        return ground[..., :3].copy()

    def _add(self, artist: Artist, clip: Area | None = None) -> None:
        artist.set_transform(self._from_top)
        artist.set_zorder(1)
        self._figure.add_artist(artist, clip=False)
        if clip is not None:
            box = TransformedBbox(Bbox.from_bounds(*clip), self._from_top)
            artist.set_clip_box(box)


@dataclass
class Column:
    """A part of a sheet; what it draws moves its upper end ``y`` down.

    Attributes:
        sheet: Where it draws.
        x: Its left edge in pixels.
        y: Where the next thing begins.
        width: In pixels.
    """

    sheet: Sheet
    x: int
    y: int
    width: int

    def split(self, count: int, indent: int = 0) -> list[Column]:
        """Equal columns side by side from here; see :meth:`join`."""
        gap = self.sheet.gap
        edges = np.linspace(indent, self.width + gap, count + 1).round().astype(int)
        return [
            Column(
                self.sheet, self.x + int(left), self.y, max(1, int(right - left) - gap)
            )
            for left, right in pairwise(edges)
        ]

    def shares(self, share: float) -> tuple[Column, Column]:
        """Two columns from here, the left one with that share of the width."""
        wide = round(self.width * share)
        x = self.x + wide + self.sheet.gap
        right = Column(self.sheet, x, self.y, self.x + self.width - x)
        return Column(self.sheet, self.x, self.y, wide), right

    def join(self, columns: Sequence[Column]) -> None:
        """Go on below the lowest of some columns."""
        self.y = max([self.y, *(column.y for column in columns)])

    def gap(self) -> None:
        """Leave the usual space."""
        self.y += self.sheet.gap

    def area(self, height: int) -> Area:
        """Take so much of the height."""
        self.y += height
        return Area(self.x, self.y - height, self.width, height)

    def picture(self, rgb: np.ndarray) -> Area:
        """Place a picture (H, W, 3)."""
        return self.sheet.paste(self.x, self.area(rgb.shape[0]).y, rgb)

    def title(
        self,
        title: str,
        *,
        note: str = "",
        keys: Sequence[tuple[str, Rgb]] = (),
        scale: ColourScale | None = None,
        swatch: Rgb | None = None,
    ) -> None:
        """A strip with a title; strips of a sheet are equally high.

        Where it is narrow, words and bar are left out and the title is cut.

        Args:
            title: Of what is below.
            note: Fainter words after it.
            keys: Words with squares in their colours after those; more important than
                the colour bar.
            scale: For a colour bar at the right.
            swatch: Colour of a square before the title.
        """
        sheet, px, fine_px = self.sheet, self.sheet.text_px, self.sheet.fine_px
        bar_px = max(6, round(0.6 * fine_px))
        strip = self.area(bar_px + line_height(fine_px) + 6)
        x, right = strip.x, strip.x + strip.width
        told = sum(text_width(text, fine_px) + 3 * fine_px for text, _ in keys)
        told += text_width(title, px, bold=True) * bool(keys)
        if scale is not None and self.width - told >= (24 if keys else 16) * fine_px:
            right = self._colour_bar(strip.y + 1, bar_px, scale) - 2 * fine_px
        top = strip.bottom - line_height(px) - 3
        if swatch is not None:
            side = round(0.8 * px)
            place = (x, top + (line_height(px) - side) // 2, side, side)
            sheet.fill(Area(*place), swatch)
            x += side + px // 2
        title = shorten(title, right - x, px, bold=True)
        x += round(sheet.text((x, top), title, px, bold=True)) + px
        top = strip.bottom - line_height(fine_px) - 4
        for text, colour in [(note, None), *keys]:
            square = 0 if colour is None else round(1.3 * fine_px)
            if text and x + square + text_width(text, fine_px) <= right:
                if colour is not None:
                    side = fine_px - 2
                    sheet.fill(Area(x, top + fine_px // 4, side, side), colour)
                wide = sheet.text((x + square, top), text, fine_px, FAINT_INK)
                x += square + round(wide) + fine_px

    def _colour_bar(self, y: int, height: int, scale: ColourScale) -> int:
        """A bar with ticks below and the unit to its right, flush right; its left."""
        sheet, px = self.sheet, self.sheet.fine_px
        wide = min(22 * px, self.width // 3)
        unit = text_width(scale.unit, px) + px
        last = text_width(scale.tick_label(scale.high), px) / 2
        left = self.x + self.width - round(max(unit, last)) - wide
        spaced = np.geomspace if scale.log else np.linspace
        steps = spaced(scale.low, scale.high, wide)
        bar = np.full((height + 2, wide + 2, 3), FAINT_INK, dtype=np.uint8)
        bar[1:-1, 1:-1] = scale.colours(scale.levels(steps))
        sheet.paste(left - 1, y - 1, bar)
        beside = (left + wide + px / 2, y + (height - line_height(px)) / 2)
        sheet.text(beside, scale.unit, px, FAINT_INK)
        free_from = -np.inf
        for tick in scale.ticks():
            label = scale.tick_label(tick)
            at = left + float(scale.fractions(np.array(tick))) * (wide - 1)
            half = text_width(label, px) / 2
            if at - half >= free_from:
                free_from = at + half + px / 3
                place = (at, y + height + 2)
                sheet.text(place, label, px, FAINT_INK, align="center")
        return left

    def headline(self, title: str, subtitle: str = "") -> None:
        """Title, fainter text at its right, and a rule."""
        sheet, px = self.sheet, round(1.35 * self.sheet.text_px)
        line = self.area(line_height(px) + sheet.gap // 2)
        title = shorten(title, self.width, px, bold=True)
        used = sheet.text(line[:2], title, px, bold=True) + px
        subtitle = shorten(subtitle, self.width - used, sheet.text_px)
        place = (self.x + self.width, line.y + line_height(px - sheet.text_px))
        sheet.text(place, subtitle, sheet.text_px, FAINT_INK, align="right")
        sheet.fill(Area(self.x, line.bottom, self.width, 1), RULE)
        self.gap()

    def facts(self, facts: Sequence[tuple[str, str]]) -> None:
        """Lines of ``name value`` pairs, names faint, values bold."""
        px, at = self.sheet.text_px, 0.0
        pitch = round(1.25 * line_height(px))
        for name, value in facts:
            value_at = text_width(f"{name}  ", px)
            value = shorten(value, self.width - value_at, px, bold=True)
            wide = value_at + text_width(value, px, bold=True)
            if at and at + wide > self.width:
                at, self.y = 0, self.y + pitch
            self.sheet.text((self.x + at, self.y), name, px, FAINT_INK)
            place = (self.x + at + value_at, self.y)
            self.sheet.text(place, value, px, bold=True)
            at += wide + 2 * px
        self.y += pitch * bool(facts)

    def placeholder(
        self, height: int, message: str, ground: Rgb = NO_RETURN, ink: Rgb = ON_DARK
    ) -> None:
        """An area that says why there is nothing."""
        area, px = self.area(height), self.sheet.text_px
        self.sheet.fill(area, ground)
        text = shorten(message, self.width - px, px)
        middle = (self.x + self.width / 2, area.y + (height - line_height(px)) / 2)
        self.sheet.text(middle, text, px, ink, align="center")

    def box_legend(self, statuses: Sequence[str]) -> None:
        """What each box style means."""
        styles = [BOX_STYLES[status] for status in statuses]
        self.legend([(style.label, style) for style in styles])

    def legend(self, entries: Sequence[tuple[str, LineStyle | Rgb]]) -> None:
        """Lines and squares with their meaning, on dark ground; wraps lines."""
        sheet, px = self.sheet, self.sheet.fine_px
        pitch, places, left, top = round(1.6 * line_height(px)), [], px, 0
        for label, mark in entries:
            sample = 3 * px if isinstance(mark, LineStyle) else px
            end = left + sample + px // 2 + round(text_width(label, px))
            if end > self.width and left > px:
                end, left, top = end - left + px, px, top + pitch
            places.append((label, mark, self.x + left, sample, top))
            left = end + 2 * px
        area = self.area(top + pitch)
        sheet.fill(area, NO_RETURN)
        for label, mark, x, sample, top in places:
            middle = area.y + top + pitch // 2
            if isinstance(mark, LineStyle):
                line = np.array([[x, middle], [x + sample, middle]], dtype=float)
                sheet.lines([line + 0.5 * (mark.thickness_px % 2)], mark)
            else:
                sheet.fill(Area(x, middle - px // 2, px, px), mark)
            place = (x + sample + px // 2, middle - line_height(px) / 2)
            sheet.text(place, label, px, ON_DARK)


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
