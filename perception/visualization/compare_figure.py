"""One attacked frame through several detectors, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perception.core.structures import DataError
from perception.visualization.attack_figure import (
    BOX_STATUSES,
    draw_change,
    draw_detections,
    draw_from_above,
    draw_gate,
    draw_input,
    effect_facts,
    headline,
)
from perception.visualization.images import changed_channel
from perception.visualization.scene import Judge, Scene
from perception.visualization.sheet import Column, Sheet
from perception.visualization.style import (
    FAINT_INK,
    line_height,
    sensor_colour,
    shorten,
)

MIN_COLUMN_PX = 200
_HIGH, _FORWARD_M = 0.6, (-2.0, 40.0)  # of the view from above, for its width


def draw_comparison(
    scenes: Sequence[Scene], judge: Judge, *, width: int = 1600, note: str = ""
) -> np.ndarray:
    """A column per detector: attacked sensor, detections clean and attacked, gate.

    Args:
        scenes: The same frame and attack through different detectors.
        judge: Tells right, false and missed apart.
        width: Width of the sheet in pixels.
        note: How the attack on the other detectors came about.

    Raises:
        DataError: If the detectors do not fit side by side.
    """
    sheet, first = Sheet(width), scenes[0]
    body = sheet.body
    if min(column.width for column in body.split(len(scenes))) < MIN_COLUMN_PX:
        need = len(scenes) * (MIN_COLUMN_PX + sheet.gap) + 2 * sheet.gap
        raise DataError(
            f"{len(scenes)} detectors side by side need a width of {need} pixels, "
            f"got {width}"
        )
    body.headline(headline(first), f"{len(scenes)} detectors")
    facts = [("attack", first.attack)] if first.attack else []
    body.facts([*facts, *first.facts, *([("crafted", note)] if note else [])])
    body.gap()
    pairs = list(zip(scenes, body.split(len(scenes)), strict=True))
    columns = [column for _, column in pairs]

    def align() -> None:
        """Rows line up: all go on below the lowest."""
        body.join(columns)
        body.gap()
        for column in columns:
            column.y = body.y

    for scene, column in pairs:
        _head(column, scene, judge)
    align()
    for name in first.touched:
        for scene, column in pairs:
            _attacked_sensor(column, scene, name)
        align()
    for scene, column in pairs:
        draw_detections(column, scene, scene.clean, judge, "detections, clean")
    align()
    for scene, column in pairs if first.attacked is not None else ():
        draw_detections(column, scene, scene.last, judge, "detections, attacked")
    align()
    if any(scene.is_in_space for scene in scenes):
        for scene, column in pairs:
            bottom = column.y + round(_HIGH * column.width)
            draw_from_above(
                *(column, scene, scene.last, judge, bottom),
                forward_m=_FORWARD_M,
                small=True,
            )
        align()
    # Detectors without a gate come last, to say so over the height of the others.
    for scene, column in sorted(pairs, key=lambda pair: pair[0].last.gate is None):
        draw_gate(column, scene, max(column.y for column in columns))
    align()
    body.box_legend(BOX_STATUSES if first.truth is not None else ("detected",))
    return sheet.rendered(body.y + sheet.gap)


def _head(column: Column, scene: Scene, judge: Judge) -> None:
    """Name of the detector, its checkpoint, and what the attack did to it."""
    sheet, px = column.sheet, round(1.2 * column.sheet.text_px)
    name, *details = scene.detector.split(" · ") if scene.detector else ["detector"]
    name = shorten(name, column.width, px, bold=True)
    line = column.area(line_height(px) + 4)
    used = sheet.text(line[:2], name, px, bold=True) + px
    told = shorten(" · ".join(details), column.width - used, sheet.fine_px)
    place = (column.x + used, line.y + line_height(px - sheet.fine_px))
    sheet.text(place, told, sheet.fine_px, FAINT_INK)
    column.facts(effect_facts(scene, judge))


def _attacked_sensor(column: Column, scene: Scene, name: str) -> None:
    """The attacked input above what was changed."""
    if name not in scene.sensors:
        column.placeholder(4 * column.sheet.text_px, f"has no {name}")
        return
    clean, attacked = scene.clean.inputs[name], scene.last.inputs[name]
    spec, swatch = scene.sensors[name], sensor_colour(name)
    channel, title = changed_channel(clean, attacked, spec), f"{name}, attacked"
    draw_input(
        column, spec, attacked, title, channel=channel, clean=clean, swatch=swatch
    )
    column.gap()
    draw_change(column, scene, name)
