"""The sheet that shows an attack: sensors, detections, view from above, gate.

From top to bottom: what was done (facts), each sensor clean | attacked | difference,
what the detector then believed beside the view from above, and whom the gate blames.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from perception.visualization.bev import bev_panel
from perception.visualization.boxes import draw_boxes
from perception.visualization.canvas import line_height, text_px_for
from perception.visualization.captions import damage_facts, headline
from perception.visualization.changes import MARKS, PointChanges, change_legend
from perception.visualization.detections import Judge, Verdict
from perception.visualization.facts import facts_panel
from perception.visualization.gate import gate_map_panel, gate_panel, sensor_legend
from perception.visualization.panels import as_rgb, image_panel
from perception.visualization.rasters import (
    raster_panels,
)
from perception.visualization.scene import Scene, View
from perception.visualization.sensor_rows import sensors_block
from perception.visualization.sheet import (
    body_width,
    box_legend,
    column_widths,
    gap_px,
    row,
    stack,
    strip_height,
    titled,
    titled_sheet,
)

# Share of the sheet that the detections take beside the bird's-eye view.
_DETECTIONS_SHARE = 0.64
# More marks of a kind in the view from above would hide it.
MOST_MARKS = 500
BOX_STATUSES = ("ground_truth", "correct", "false", "missed", "ignored")


def draw_scene(scene: Scene, judge: Judge, *, width: int = 1600) -> np.ndarray:
    """Draw one frame as one detector saw it, before and after an attack if any.

    Args:
        scene: What to show; it is not changed.
        judge: Tells right, false and missed apart.
        width: Width of the sheet in pixels.

    Returns:
        (H', width, 3) uint8 RGB.
    """
    text_px, inner = text_px_for(width), body_width(width)
    clean = judge(scene.truth, scene.clean.detections)
    attacked = None
    if scene.attacked is not None:
        attacked = judge(scene.truth, scene.attacked.detections)
    facts = (
        *([("attack", scene.attack)] if scene.attack else []),
        *scene.facts,
        *damage_facts(scene, clean, attacked),
    )
    parts = [
        facts_panel(facts, inner, text_px=text_px),
        sensors_block(scene, inner, text_px=text_px),
        _belief_block(scene, clean, attacked or clean, inner, text_px),
    ]
    body = stack(parts, gap=gap_px(text_px))
    return titled_sheet(body, headline(scene), width=width, subtitle=scene.detector)


def detections_panel(
    scene: Scene, view: View, verdict: Verdict, *, width: int, text_px: int
) -> np.ndarray:
    """The picture that the detector was given, with judged boxes; no title."""
    picture = scene.backdrop(view)
    if picture is None:
        name, spec = next(iter(scene.sensors.items()))
        panel = raster_panels(view.inputs[name], spec, width=width, title="")[0]
    else:
        panel = image_panel(picture, width=width)
    scale = width / scene.original_size[1]
    return draw_boxes(panel, verdict.layers(), scale=scale, text_px=text_px)


def _belief_block(
    scene: Scene, clean: Verdict, last: Verdict, width: int, text_px: int
) -> np.ndarray:
    """Detections with legends and gate maps, beside the view from above and gate."""
    gap = gap_px(text_px)
    left = round(width * _DETECTIONS_SHARE)
    views = [("detections on the clean input", scene.clean, clean)]
    if scene.attacked is not None:
        views.append(("detections on the attacked input", scene.attacked, last))
    column = []
    for title, view, verdict in views:
        panel = detections_panel(scene, view, verdict, width=left, text_px=text_px)
        note = found_text(verdict)
        column.append(titled(panel, title, text_px=text_px, note=note))
    statuses = BOX_STATUSES if scene.truth is not None else ("detected",)
    column.append(box_legend(statuses, left, text_px=text_px))
    if scene.last.gate_map is not None:
        column.append(_gate_maps(scene, left, text_px))
    body = stack(column, gap=gap)
    beside = width - left - gap
    title = "gate: which sensor disagrees"
    bars = gate_bars(scene, beside, text_px=text_px, title=title)
    below = [] if bars is None else [bars]
    free = body.shape[0] - sum(part.shape[0] + gap for part in below)
    high = max(free, round(0.7 * beside))
    above = _from_above(scene, last, (high, beside), text_px)
    return row([body, stack([above, *below], gap=gap)], gap=gap)


def found_text(verdict: Verdict) -> str:
    """``3 of 4 found, 1 false``, or the number of detections without labels."""
    if verdict.truth is None:
        return f"{len(verdict.detections)} detected"
    found, false = verdict.count("found"), verdict.count("false")
    return f"{found} of {verdict.wanted} found, {false} false"


def _gate_maps(scene: Scene, width: int, text_px: int) -> np.ndarray:
    """The gate over the image, clean and attacked, with the sensors' colours."""
    gap = gap_px(text_px)
    views = [("gate on the clean input", scene.clean)]
    if scene.attacked is not None:
        views.append(("gate on the attacked input", scene.attacked))
    widths = column_widths(width, len(views), gap)
    panels = []
    for (title, view), wide in zip(views, widths, strict=True):
        picture = scene.backdrop(view)
        if picture is None:
            picture = np.full((*scene.image_size, 3), 96, dtype=np.uint8)
        assert view.gate_map is not None
        panels.append(
            gate_map_panel(
                *(view.gate_map, list(scene.sensors), as_rgb(picture)),
                width=wide,
                title=title,
                text_px=text_px,
            )
        )
    legend = sensor_legend(list(scene.sensors), width, text_px=text_px)
    return stack([row(panels, gap=gap), legend], gap=gap)


def gate_bars(
    scene: Scene, width: int, *, text_px: int, title: str
) -> np.ndarray | None:
    """The gate's state and bars; None for a detector without a gate."""
    last, clean = scene.last, None if scene.attacked is None else scene.clean
    if last.gate is None:
        return None
    return gate_panel(
        *(last.gate, list(scene.sensors)),
        width=width,
        clean=None if clean is None else clean.gate,
        attacked=scene.touched[0] if len(scene.touched) == 1 else None,
        doubt=last.doubt,
        clean_doubt=None if clean is None else clean.doubt,
        title=title,
        text_px=text_px,
    )


def _from_above(
    scene: Scene, verdict: Verdict, size: tuple[int, int], text_px: int
) -> np.ndarray:
    """The bird's-eye view in (H, W) ``size``, titles and legends included."""
    changes = scene.changed_points()
    legends = []
    if changes:
        legends.append(change_legend([*changes.values()], size[1], text_px=text_px))
    used = sum(part.shape[0] for part in legends) + strip_height(text_px)
    drawn = {name: change.thinned(MOST_MARKS) for name, change in changes.items()}
    title = "from above"
    if changes:
        total, shown = (_marks(some) for some in (changes, drawn))
        title += f", 1 mark in {round(total / shown)}" if shown < total else ""
    view = bev_panel(
        scene.calibration,
        size=(max(size[0] - used, 4 * line_height(text_px)), size[1]),
        points=scene.last.points,
        layers=verdict.truth_in_space(),
        changes=drawn,
        image_size=scene.image_size,
        title=title,
        text_px=text_px,
    )
    return stack([view, *legends], gap=0)


def _marks(changes: Mapping[str, PointChanges]) -> int:
    return sum(change.count(kind) for change in changes.values() for kind in MARKS)
