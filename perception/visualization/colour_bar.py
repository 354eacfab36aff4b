"""A colour scale drawn as a bar with ticks and its unit."""

from __future__ import annotations

import numpy as np

from perception.visualization.canvas import (
    line_height,
    paint_rectangle,
    paint_segments,
    paint_text,
    text_width,
)
from perception.visualization.palette import FAINT_INK, ColourScale


def paint_colour_bar(
    canvas: np.ndarray,
    scale: ColourScale,
    box: tuple[int, int, int, int],
    text_px: int,
) -> None:
    """Paint a bar over x1, y1, x2, y2 with ticks below and the unit to its right."""
    x1, y1, x2, y2 = box
    steps = scale.low + (scale.high - scale.low) * np.linspace(0, 1, max(2, x2 - x1))
    if scale.log:
        steps = np.geomspace(scale.low, scale.high, max(2, x2 - x1))
    paint_rectangle(canvas, (x1 - 1, y1 - 1, x2 + 1, y2 + 1), FAINT_INK)
    area = canvas[y1:y2, x1:x2]
    area[:] = scale.colours(scale.levels(steps))[None, : area.shape[1]]
    unit_y = (y1 + y2 - line_height(text_px)) / 2
    paint_text(canvas, scale.unit, (x2 + text_px / 2, unit_y), text_px, FAINT_INK)
    free_from = -np.inf
    for tick in _roomy(scale, x2 - x1, text_px):
        label = scale.tick_label(tick)
        x = x1 + float(scale.fractions(np.array(tick))) * (x2 - 1 - x1)
        half = text_width(label, text_px) / 2
        if x - half < free_from:
            continue
        free_from = x + half + text_px / 3
        paint_segments(canvas, np.array([[[x, y2], [x, y2 + 3]]]), FAINT_INK)
        paint_text(canvas, label, (x, y2 + 3), text_px, FAINT_INK, anchor=0.5)


def _roomy(scale: ColourScale, width: int, text_px: int) -> list[float]:
    """The scale's ticks, or every second one where they would touch."""
    ticks = scale.ticks()
    if scale.log or len(ticks) < 3:
        return ticks
    wide = max(text_width(scale.tick_label(tick), text_px) for tick in ticks)
    pitch = width * (ticks[1] - ticks[0]) / (scale.high - scale.low)
    if wide + text_px / 3 <= pitch:
        return ticks
    return ticks[len(ticks) // 2 % 2 :: 2]
