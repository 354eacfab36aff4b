"""Names and values in lines of text, wrapped to a width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perception.visualization.canvas import (
    line_height,
    new_canvas,
    paint_text,
    shorten,
    text_width,
)
from perception.visualization.palette import FAINT_INK, INK


def facts_panel(
    facts: Sequence[tuple[str, str]],
    width: int,
    *,
    text_px: int,
    own_lines: bool = False,
) -> np.ndarray:
    """(H, width, 3) lines of ``name value`` pairs, names faint, values bold.

    Args:
        facts: The pairs; a value without a name is set faint itself.
        width: Lines are wrapped, and values shortened, to this width.
        text_px: Text size.
        own_lines: Each pair has its own line.
    """
    pitch = round(1.25 * line_height(text_px))
    places, x, y = [], 0, 0
    for name, value in facts:
        value_at = text_width(f"{name}  ", text_px) if name else 0
        value = shorten(value, width - value_at, text_px, bold=bool(name))
        wide = value_at + text_width(value, text_px, bold=bool(name))
        if x and (own_lines or x + wide > width):
            x, y = 0, y + pitch
        places.append((name, value, x, value_at, y))
        x += wide + 2 * text_px
    canvas = new_canvas(y + pitch if places else 1, width)
    for name, value, left, value_at, top in places:
        paint_text(canvas, name, (left, top), text_px, FAINT_INK)
        ink = INK if name else FAINT_INK
        spot = (left + value_at, top)
        paint_text(canvas, value, spot, text_px, ink, bold=bool(name))
    return canvas
