"""Putting pictures together: titles, rows, grids and legends on a white sheet.

Everything takes and returns (H, W, 3) uint8 RGB arrays, so that sheets nest: a row
of panels is a panel, and a grid of rows can stand beside a bird's-eye view.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perception.visualization.canvas import (
    line_height,
    new_canvas,
    paint_rectangle,
    paint_segments,
    paint_styled,
    paint_text,
    shorten,
    small,
    text_px_for,
    text_width,
)
from perception.visualization.colour_bar import paint_colour_bar
from perception.visualization.palette import (
    BOX_STYLES,
    FAINT_INK,
    INK,
    NO_RETURN,
    ColourScale,
    Rgb,
    sensor_colour,
    text_colour_on,
)


def gap_px(text_px: int) -> int:
    """Space between panels beside text of ``text_px``."""
    return max(4, round(0.75 * text_px))


def column_widths(width: int, columns: int, gap: int) -> list[int]:
    """Widths of equal columns that fill ``width`` exactly with gaps between them."""
    edges = np.linspace(0, width + gap, columns + 1).round().astype(int)
    return [max(1, int(w) - gap) for w in np.diff(edges)]


def strip_height(text_px: int) -> int:
    """Height of the strip that ``titled`` adds."""
    fine_px = small(text_px)
    return _bar_height(fine_px) + line_height(fine_px) + 6


def _bar_height(fine_px: int) -> int:
    return max(6, round(0.6 * fine_px))


def titled(
    image: np.ndarray,
    title: str,
    *,
    text_px: int,
    scale: ColourScale | None = None,
    note: str = "",
    swatch: Rgb | None = None,
) -> np.ndarray:
    """The image under a strip with its title, a fainter note and its colour bar.

    On a narrow image the note and the bar are left out and the title is cut.

    Strips of one ``text_px`` are equally high, with or without a colour bar.
    """
    fine_px = small(text_px)
    bar_px, strip = _bar_height(fine_px), strip_height(text_px)
    width = image.shape[1]
    canvas = new_canvas(strip + image.shape[0], width)
    canvas[strip:] = image
    right = width
    if scale is not None and width >= 16 * fine_px:
        bar_width = min(22 * fine_px, width // 3)
        unit = text_width(scale.unit, fine_px) + fine_px
        last = text_width(scale.tick_label(scale.high), fine_px) // 2
        x2 = width - max(unit, last)
        right = x2 - bar_width - 2 * fine_px
        paint_colour_bar(canvas, scale, (x2 - bar_width, 1, x2, 1 + bar_px), fine_px)
    x, y = 0, strip - line_height(text_px) - 3
    if swatch is not None:
        side = round(0.8 * text_px)
        top = y + (line_height(text_px) - side) // 2
        paint_rectangle(canvas, (0, top, side, top + side), swatch)
        x = side + text_px // 2
    title = shorten(title, right - x, text_px, bold=True)
    paint_text(canvas, title, (x, y), text_px, INK, bold=True)
    x += text_width(title, text_px, bold=True) + text_px
    note_y = strip - line_height(fine_px) - 4
    if text_width(note, fine_px) <= right - x:
        paint_text(canvas, note, (x, note_y), fine_px, FAINT_INK)
    return canvas


def row(panels: Sequence[np.ndarray], *, gap: int) -> np.ndarray:
    """Panels side by side, their tops in line."""
    height = max(panel.shape[0] for panel in panels)
    width = sum(panel.shape[1] for panel in panels) + gap * (len(panels) - 1)
    canvas, x = new_canvas(height, width), 0
    for panel in panels:
        canvas[: panel.shape[0], x : x + panel.shape[1]] = panel
        x += panel.shape[1] + gap
    return canvas


def stack(rows: Sequence[np.ndarray], *, gap: int) -> np.ndarray:
    """Rows one above the other, their left edges in line."""
    width = max(part.shape[1] for part in rows)
    height = sum(part.shape[0] for part in rows) + gap * (len(rows) - 1)
    canvas, y = new_canvas(height, width), 0
    for part in rows:
        canvas[y : y + part.shape[0], : part.shape[1]] = part
        y += part.shape[0] + gap
    return canvas


def labelled(panel: np.ndarray, name: str, *, text_px: int) -> np.ndarray:
    """A row with a bar in its sensor's colour, and the name along it, at its left."""
    bar = round(1.7 * text_px)
    colour = sensor_colour(name)
    upright = new_canvas(bar, panel.shape[0], colour)
    ink = text_colour_on(colour)
    text = shorten(name, panel.shape[0] - text_px, text_px, bold=True)
    y = (bar - line_height(text_px)) / 2
    middle = (panel.shape[0] / 2, y)
    paint_text(upright, text, middle, text_px, ink, bold=True, anchor=0.5)
    return row([np.rot90(upright), panel], gap=gap_px(text_px))


def grid(
    rows: Sequence[Sequence[np.ndarray]],
    *,
    labels: Sequence[str] = (),
    text_px: int,
) -> np.ndarray:
    """Rows of panels, each labelled with its sensor where ``labels`` are given."""
    gap = gap_px(text_px)
    parts = [row(panels, gap=gap) for panels in rows]
    if labels:
        pairs = zip(parts, labels, strict=True)
        parts = [labelled(part, name, text_px=text_px) for part, name in pairs]
    return stack(parts, gap=gap)


def placeholder(height: int, width: int, message: str, *, text_px: int) -> np.ndarray:
    """A dark panel that says why there is no picture."""
    canvas = new_canvas(height, width, NO_RETURN)
    text = shorten(message, width - text_px, text_px)
    y = (canvas.shape[0] - line_height(text_px)) / 2
    paint_text(canvas, text, (width / 2, y), text_px, (190, 192, 200), anchor=0.5)
    return canvas


def box_legend(statuses: Sequence[str], width: int, *, text_px: int) -> np.ndarray:
    """What each box style means, on dark ground as the pictures are; wraps lines."""
    fine_px = small(text_px)
    pitch = round(1.6 * line_height(fine_px))
    sample = 3 * fine_px
    places, x, y = [], fine_px, 0
    for status in statuses:
        end = x + sample + fine_px + text_width(BOX_STYLES[status].label, fine_px)
        if end > width and x > fine_px:
            x, y, end = fine_px, y + pitch, end - x + fine_px
        places.append((x, y))
        x = end + 2 * fine_px
    canvas = new_canvas(y + pitch, width, NO_RETURN)
    for status, (x, top) in zip(statuses, places, strict=True):
        middle = top + pitch / 2
        line = np.array([[[x, middle], [x + sample, middle]]])
        paint_styled(canvas, line, BOX_STYLES[status])
        text_y = middle - line_height(fine_px) / 2
        label = BOX_STYLES[status].label
        paint_text(canvas, label, (x + sample + fine_px, text_y), fine_px, (225,) * 3)
    return canvas


def titled_sheet(
    body: np.ndarray, title: str, *, width: int, subtitle: str = ""
) -> np.ndarray:
    """The finished sheet: title, a rule, the body, and a margin all around.

    Args:
        body: At most ``body_width(width)`` wide; narrower is padded.
        title: Headline, cut where it is too long.
        width: Width of the sheet in pixels.
        subtitle: Fainter text at the right of the headline.
    """
    text_px = text_px_for(width)
    margin, inner = gap_px(text_px), body_width(width)
    title_px = round(1.35 * text_px)
    top = margin + line_height(title_px) + margin // 2
    canvas = new_canvas(top + margin + body.shape[0] + margin, width)
    headline = shorten(title, inner, title_px, bold=True)
    paint_text(canvas, headline, (margin, margin), title_px, INK, bold=True)
    used = text_width(headline, title_px, bold=True) + title_px
    subtitle = shorten(subtitle, inner - used, text_px)
    y = margin + line_height(title_px) - line_height(text_px)
    paint_text(canvas, subtitle, (margin + inner, y), text_px, FAINT_INK, anchor=1.0)
    rule = np.array([[[margin, top], [margin + inner - 1, top]]])
    paint_segments(canvas, rule, (205, 208, 214), smooth=False)
    fits = body[:, :inner]
    canvas[top + margin : -margin, margin : margin + fits.shape[1]] = fits
    return canvas


def body_width(width: int) -> int:
    """Width that a sheet of ``width`` pixels leaves to its body."""
    return max(1, width - 2 * gap_px(text_px_for(width)))
