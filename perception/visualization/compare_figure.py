"""One attacked frame through several detectors, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from perception.core.structures import DataError
from perception.visualization.attack_figure import (
    BOX_STATUSES,
    draw_change,
    draw_detections,
    draw_gate,
    draw_input,
    effect_facts,
    headline,
)
from perception.visualization.images import changed_channel
from perception.visualization.scene import Judge, Scene
from perception.visualization.sheet import Area, Sheet, line_height, shorten
from perception.visualization.style import FAINT_INK, sensor_colour

MIN_COLUMN_PX = 200


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
    columns = sheet.columns(len(scenes))
    if min(wide for _, wide in columns) < MIN_COLUMN_PX:
        need = len(scenes) * (MIN_COLUMN_PX + sheet.gap) + 2 * sheet.gap
        raise DataError(
            f"{len(scenes)} detectors side by side need a width of {need} pixels, "
            f"got {width}"
        )
    y = sheet.headline(headline(first), f"{len(scenes)} detectors")
    facts = [("attack", first.attack)] if first.attack else []
    facts += [*first.facts, *([("crafted", note)] if note else [])]
    y = sheet.facts(sheet.left, y, sheet.inner, facts) + sheet.gap // 2
    rows = [
        _head,
        *(partial(_attacked_sensor, name=name) for name in first.touched),
        partial(_detections, attacked=False),
        *([partial(_detections, attacked=True)] if first.attacked is not None else []),
    ]
    # Rows line up: what a column has in a place ends where the lowest there ends.
    for draw in rows:
        y = sheet.gap + max(
            draw(sheet, x, y, wide, scene, judge)
            for scene, (x, wide) in zip(scenes, columns, strict=True)
        )
    # Detectors without a gate come last, to say so over the height of the others.
    places = sorted(
        zip(scenes, columns, strict=True), key=lambda pair: pair[0].last.gate is None
    )
    bottom = y
    for scene, (x, wide) in places:
        bottom = max(bottom, draw_gate(sheet, x, y, wide, scene, bottom))
    statuses = BOX_STATUSES if first.truth is not None else ("detected",)
    y = sheet.box_legend(sheet.left, bottom + sheet.gap, sheet.inner, statuses)
    return sheet.rendered(y + sheet.gap)


def _head(sheet: Sheet, x: int, y: int, width: int, scene: Scene, judge: Judge) -> int:
    """Name of the detector, its checkpoint, and what the attack did to it."""
    px = round(1.2 * sheet.text_px)
    name, *details = scene.detector.split(" · ") if scene.detector else ["detector"]
    name = shorten(name, width, px, bold=True)
    used = sheet.text((x, y), name, px, bold=True) + px
    told = shorten(" · ".join(details), width - used, sheet.fine_px)
    below = y + line_height(px) - line_height(sheet.fine_px) - 1
    sheet.text((x + used, below), told, sheet.fine_px, FAINT_INK)
    clean = judge(scene.truth, scene.clean.detections)
    attacked = None
    if scene.attacked is not None:
        attacked = judge(scene.truth, scene.attacked.detections)
    facts = effect_facts(scene, clean, attacked)
    return sheet.facts(x, y + line_height(px) + 4, width, facts)


def _attacked_sensor(
    sheet: Sheet, x: int, y: int, width: int, scene: Scene, judge: Judge, *, name: str
) -> int:
    """The attacked input above what was changed."""
    if name not in scene.sensors:
        area = Area(x, y, width, 4 * sheet.text_px)
        sheet.placeholder(area, f"has no {name}")
        return area.bottom
    clean, attacked = scene.clean.inputs[name], scene.last.inputs[name]
    spec = scene.sensors[name]
    y = draw_input(
        *(sheet, x, y, width, spec, attacked, f"{name}, attacked"),
        channel=changed_channel(clean, attacked, spec),
        clean=clean,
        swatch=sensor_colour(name),
    )
    return draw_change(sheet, x, y + sheet.gap, width, scene, name)


def _detections(
    sheet: Sheet,
    x: int,
    y: int,
    width: int,
    scene: Scene,
    judge: Judge,
    *,
    attacked: bool,
) -> int:
    view = scene.last if attacked else scene.clean
    verdict = judge(scene.truth, view.detections)
    title = f"detections, {'attacked' if attacked else 'clean'}"
    y = sheet.titled(x, y, width, title, note=str(verdict))
    return draw_detections(sheet, x, y, width, scene, view, verdict)
