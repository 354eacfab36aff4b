"""One attacked frame through several detectors, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perception.core.structures import DataError
from perception.visualization.attack_sheet import (
    BOX_STATUSES,
    detections_panel,
    gate_bars,
)
from perception.visualization.canvas import text_px_for
from perception.visualization.captions import damage_facts, headline
from perception.visualization.detections import Judge, Verdict
from perception.visualization.facts import facts_panel
from perception.visualization.palette import sensor_colour
from perception.visualization.rasters import difference_panel, raster_panels
from perception.visualization.scene import Scene
from perception.visualization.sensor_rows import changed_channel
from perception.visualization.sheet import (
    body_width,
    box_legend,
    column_widths,
    gap_px,
    placeholder,
    row,
    stack,
    titled,
    titled_sheet,
)

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
    text_px, inner = text_px_for(width), body_width(width)
    gap = gap_px(text_px)
    widths = column_widths(inner, len(scenes), gap)
    if min(widths) < MIN_COLUMN_PX:
        need = len(scenes) * (MIN_COLUMN_PX + gap) + 2 * gap
        raise DataError(
            f"{len(scenes)} detectors side by side need a width of {need} pixels, "
            f"got {width}"
        )
    columns = [
        _column(scene, judge, wide, text_px)
        for scene, wide in zip(scenes, widths, strict=True)
    ]
    # Rows line up: whatever a column has in a place is as high as the highest there.
    lines = [row(cells, gap=gap) for cells in zip(*columns, strict=True)]
    first = scenes[0]
    facts = [("attack", first.attack)] if first.attack else []
    facts += [*first.facts, *([("crafted", note)] if note else [])]
    statuses = BOX_STATUSES if first.truth is not None else ("detected",)
    legend = box_legend(statuses, inner, text_px=text_px)
    body = stack([facts_panel(facts, inner, text_px=text_px), *lines, legend], gap=gap)
    subtitle = f"{len(scenes)} detectors"
    return titled_sheet(body, headline(first), width=width, subtitle=subtitle)


def _column(scene: Scene, judge: Judge, width: int, text_px: int) -> list[np.ndarray]:
    """The panels of one detector, from top to bottom."""
    clean = judge(scene.truth, scene.clean.detections)
    attacked = None
    if scene.attacked is not None:
        attacked = judge(scene.truth, scene.attacked.detections)
    name, *details = scene.detector.split(" · ") if scene.detector else ["detector"]
    told = damage_facts(scene, clean, attacked)
    facts = [("", " · ".join(details)), *told]
    head = facts_panel(facts, width, text_px=text_px, own_lines=True)
    return [
        titled(head, name, text_px=round(1.2 * text_px)),
        *(_attacked_sensor(scene, sensor, width, text_px) for sensor in scene.touched),
        _detections(scene, "clean", clean, width, text_px),
        *(
            [_detections(scene, "attacked", attacked, width, text_px)]
            if attacked
            else []
        ),
        _gate(scene, width, text_px),
    ]


def _attacked_sensor(scene: Scene, sensor: str, width: int, text_px: int) -> np.ndarray:
    """The attacked input above what was changed."""
    assert scene.attacked is not None
    if sensor not in scene.sensors:
        return placeholder(4 * text_px, width, f"has no {sensor}", text_px=text_px)
    spec = scene.sensors[sensor]
    before, after = scene.clean.inputs[sensor], scene.attacked.inputs[sensor]
    channel = changed_channel(before, after, spec)
    panel = raster_panels(after, spec, width=width, title="")[channel]
    swatch = sensor_colour(sensor)
    title = f"{sensor}, attacked"
    shown = None if spec.kind == "image" else spec.channels[channel].name
    change = difference_panel(
        *(before, after, spec),
        width=width,
        channel=shown,
        title="attacked minus clean",
        text_px=text_px,
    )
    parts = [titled(panel, title, text_px=text_px, swatch=swatch), change]
    return stack(parts, gap=gap_px(text_px))


def _detections(
    scene: Scene, which: str, verdict: Verdict, width: int, text_px: int
) -> np.ndarray:
    view = scene.clean if which == "clean" else scene.last
    panel = detections_panel(scene, view, verdict, width=width, text_px=text_px)
    return titled(panel, f"detections, {which}", text_px=text_px)


def _gate(scene: Scene, width: int, text_px: int) -> np.ndarray:
    bars = gate_bars(scene, width, text_px=text_px, title="gate")
    if bars is not None:
        return bars
    message = "no gate: every sensor is trusted alike"
    return placeholder(4 * text_px, width, message, text_px=text_px)
