"""What the gate makes of a frame as a whole: it trusts all, is in doubt, or blames one.

Only for fusions that know doubt: whoever cannot doubt has no such state.

Shape letters: S sensors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perception.visualization.canvas import (
    line_height,
    new_canvas,
    paint_text,
    shorten,
    small,
    text_width,
)
from perception.visualization.palette import (
    IN_DOUBT,
    NOBODY,
    sensor_colour,
    text_colour_on,
)


def gate_state(
    probabilities: np.ndarray | None, sensors: Sequence[str], doubt: float | None
) -> str | None:
    """The sensor blamed, ``"in doubt"``, or ``"none"``; a name of ``sensor_colour``.

    Args:
        probabilities: (S + 1,) the gate's; None without a gate.
        sensors: S names, in the gate's order.
        doubt: Above 0 if some sensor lies, see ``View``.

    Returns:
        None without a gate or doubt: such a gate has nothing to add to its likeliest.
    """
    if probabilities is None or doubt is None:
        return None
    likeliest = [*sensors, NOBODY][int(np.argmax(probabilities))]
    return IN_DOUBT if likeliest == NOBODY and doubt > 0 else likeliest


def state_text(state: str, *, brief: bool = False) -> str:
    """A state in words; ``brief`` does not say what doubt means."""
    doubt = IN_DOUBT if brief else f"{IN_DOUBT}: some sensor lies"
    return {NOBODY: "trusts all", IN_DOUBT: doubt}.get(state, f"blames {state}")


def state_band(
    state: str, width: int, *, text_px: int, clean: str | None = None
) -> np.ndarray:
    """(H, width, 3) the state in words on its colour.

    Args:
        state: What :func:`gate_state` returned.
        width: In pixels.
        text_px: Text size.
        clean: State on the clean input, told at the right if there is space.
    """
    colour, fine_px = sensor_colour(state), small(text_px)
    ink, margin = text_colour_on(colour), text_px // 2
    canvas = new_canvas(round(1.5 * line_height(text_px)), width, colour)
    text = shorten(state_text(state), width - 2 * margin, text_px, bold=True)
    y = (canvas.shape[0] - line_height(text_px)) / 2
    paint_text(canvas, text, (margin, y), text_px, ink, bold=True)
    note = "" if clean is None else f"clean: {state_text(clean, brief=True)}"
    used = 2 * margin + text_width(text, text_px, bold=True) + text_px
    if used + text_width(note, fine_px) <= width:
        y = (canvas.shape[0] - line_height(fine_px)) / 2
        paint_text(canvas, note, (width - margin, y), fine_px, ink, anchor=1.0)
    return canvas
