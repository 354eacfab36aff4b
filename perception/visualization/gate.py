"""Whom the gate blames: a bar per sensor, its state in words, a map over the image.

The gate's S + 1 probabilities are one for each sensor ("this one disagrees with the
others"), in the order of the sensors, and the last for "none".

Shape letters: S sensors; h, w gate map; H, W image.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from perception.visualization.canvas import (
    line_height,
    new_canvas,
    paint_rectangle,
    paint_segments,
    paint_text,
    small,
    text_px_for,
    text_width,
)
from perception.visualization.gate_state import gate_state, state_band
from perception.visualization.palette import (
    FAINT_INK,
    INK,
    NO_RETURN,
    NOBODY,
    PAPER,
    sensor_colour,
)
from perception.visualization.panels import as_rgb, panel_size
from perception.visualization.sheet import stack, titled

_TRACK = (236, 238, 242)
_DIM = 0.45


def gate_panel(
    probabilities: np.ndarray,
    sensors: Sequence[str],
    *,
    width: int,
    clean: np.ndarray | None = None,
    attacked: str | None = None,
    doubt: float | None = None,
    clean_doubt: float | None = None,
    title: str = "",
    text_px: int | None = None,
) -> np.ndarray:
    """The gate's belief: one bar in each sensor's colour, and one for "none".

    Above them, for a fusion that knows doubt, whom it trusts or blames, in words.

    Args:
        probabilities: (S + 1,) from 0 to 1.
        sensors: S names, in the gate's order.
        width: Width of the panel in pixels.
        clean: (S + 1,) on the clean input, marked by a tick on each bar.
        attacked: The sensor that really was attacked (or ``"none"``); its name is
            bold and followed by "attacked".
        doubt: Above 0 if some sensor lies, whoever it is; None if it cannot tell.
        clean_doubt: The same on the clean input.
        title: Title of the panel; none, no strip.
        text_px: Text size, by default that of a sheet of this width.
    """
    text_px = text_px or text_px_for(width)
    count = len(sensors) + 1
    values = _probabilities(probabilities, count)
    marks = None if clean is None else _probabilities(clean, count)
    panel = _bars(values, marks, [*sensors, NOBODY], attacked, width, text_px)
    state = gate_state(values, sensors, doubt)
    if state is not None:
        before = gate_state(marks, sensors, clean_doubt)
        band = state_band(state, width, text_px=text_px, clean=before)
        panel = stack([band, panel], gap=text_px // 2)
    note = "tick: on the clean input" if clean is not None else ""
    return titled(panel, title, text_px=text_px, note=note) if title else panel


def _bars(
    values: np.ndarray,
    marks: np.ndarray | None,
    names: Sequence[str],
    attacked: str | None,
    width: int,
    text_px: int,
) -> np.ndarray:
    """A bar for each name, as long as its value, over an axis from 0 to 1."""
    fine_px, pitch = small(text_px), round(1.75 * line_height(text_px))
    labels = [_label(name, attacked) for name in names]
    left = max(text_width(label, text_px, bold=True) for label in labels) + text_px
    left = min(left, width // 2)
    right = width - text_width("0.00", text_px, bold=True) - text_px
    span = max(1, right - left)
    canvas = new_canvas(pitch * len(names) + line_height(fine_px), width, PAPER)
    for i, name in enumerate(names):
        middle = pitch * i + pitch / 2
        top, bottom = round(middle - 0.3 * pitch), round(middle + 0.3 * pitch)
        y = middle - line_height(text_px) / 2
        bold = attacked == name
        paint_text(canvas, labels[i], (0, y), text_px, INK, bold=bold)
        paint_rectangle(canvas, (left, top, right, bottom), _TRACK)
        end = left + round(span * float(values[i]))
        paint_rectangle(canvas, (left, top, end, bottom), sensor_colour(name))
        if marks is not None:
            x = left + span * float(marks[i])
            paint_segments(canvas, np.array([[[x, top - 3], [x, bottom + 2]]]), INK, 2)
        best = i == int(values.argmax())
        text = f"{values[i]:.2f}"
        paint_text(canvas, text, (width, y), text_px, INK, bold=best, anchor=1.0)
    for tick in (0.0, 0.5, 1.0):
        spot = (left + span * tick, pitch * len(names))
        paint_text(canvas, f"{tick:g}", spot, fine_px, FAINT_INK, anchor=tick)
    return canvas


def gate_map_panel(
    gate: np.ndarray,
    sensors: Sequence[str],
    image: np.ndarray,
    *,
    width: int,
    title: str = "",
    text_px: int | None = None,
) -> np.ndarray:
    """Where the gate blames whom, over the picture in grey.

    Each cell is tinted with the sensors' colours in the parts of their
    probabilities; where the gate says "none", the picture stays grey.

    Args:
        gate: (S + 1, h, w) probabilities; the map covers the whole image.
        sensors: S names, in the gate's order.
        image: (H, W, C) reference picture in 0 … 255.
        width: Width of the panel in pixels.
        title: Title of the panel; none, no strip.
        text_px: Text size, by default that of a sheet of this width.
    """
    gate = _probabilities(gate, len(sensors) + 1)
    if gate.ndim != 3:
        raise ValueError(f"gate map must be (S + 1, h, w), got {gate.shape}")
    text_px = text_px or text_px_for(width)
    rgb = as_rgb(image)
    size = panel_size(rgb.shape, width)
    grey = cv2.cvtColor(cv2.resize(rgb, size[::-1]), cv2.COLOR_RGB2GRAY)
    colours = np.array([sensor_colour(name) for name in sensors], dtype=np.float32)
    colours = colours.reshape(-1, 3)
    tint = np.einsum("shw,sc->hwc", gate[:-1], colours)
    blamed = gate[:-1].sum(axis=0)
    flip = size[::-1]
    tint = cv2.resize(tint, flip, interpolation=cv2.INTER_NEAREST).reshape(*size, 3)
    blamed = cv2.resize(blamed, flip, interpolation=cv2.INTER_NEAREST)[..., None]
    backdrop = grey[..., None] * (1 - _DIM * blamed)
    mixed = backdrop * (1 - 0.6 * blamed) + 0.75 * tint
    panel = np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)
    if not title:
        return panel
    return titled(panel, title, text_px=text_px, note="grey: no sensor disagrees")


def sensor_legend(sensors: Sequence[str], width: int, *, text_px: int) -> np.ndarray:
    """The sensors' colours, and the grey of "none", on dark ground; wraps lines."""
    fine_px = small(text_px)
    pitch = round(1.6 * line_height(fine_px))
    places, x, y = [], fine_px, 0
    names = [*sensors, NOBODY]
    for name in names:
        end = x + round(1.5 * fine_px) + text_width(name, fine_px)
        if end > width and x > fine_px:
            x, y, end = fine_px, y + pitch, end - x + fine_px
        places.append((x, y))
        x = end + 2 * fine_px
    canvas = new_canvas(y + pitch, width, NO_RETURN)
    for name, (x, top) in zip(names, places, strict=True):
        mark = top + (pitch - fine_px) // 2
        box = (x, mark, x + fine_px, mark + fine_px)
        paint_rectangle(canvas, box, sensor_colour(name))
        text_y = top + (pitch - line_height(fine_px)) / 2
        spot = (x + round(1.5 * fine_px), text_y)
        paint_text(canvas, name, spot, fine_px, (225,) * 3)
    return canvas


def _label(name: str, attacked: str | None) -> str:
    return f"{name} (attacked)" if name == attacked and name != NOBODY else name


def _probabilities(values: np.ndarray, count: int) -> np.ndarray:
    """The gate as float32, if it has one entry for each sensor and "none"."""
    values = np.asarray(values, dtype=np.float32)
    if values.ndim == 0 or len(values) != count or not values.size:
        raise ValueError(
            f"gate must have {count} probabilities, one a sensor and one for "
            f"{NOBODY!r}, got shape {values.shape}"
        )
    return np.clip(np.nan_to_num(values), 0, 1)
