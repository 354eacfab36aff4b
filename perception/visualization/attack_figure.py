"""The sheet of one detector: what it was given, what it found, whom its gate alarms on.

From top to bottom: what was done (facts), each attacked sensor clean | attacked |
change, the other sensors and the gate, and the detections beside the view from above.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perception.core.gate_state import NOBODY
from perception.core.structures import SensorSpec
from perception.visualization.bev import draw_bev, drawn_of
from perception.visualization.boxes import draw_boxes
from perception.visualization.images import (
    as_rgb,
    change_counts,
    changed_channel,
    channel_scale,
    difference_picture,
    gate_picture,
    image_picture,
    probabilities,
    raster_picture,
    spoken,
)
from perception.visualization.scene import Judge, Scene, Verdict, View, state_text
from perception.visualization.sheet import Area, Sheet, line_height, shorten, text_width
from perception.visualization.style import (
    CHANGE_COLOURS,
    FAINT_INK,
    HEIGHT_SCALE,
    INK,
    TRACK,
    Rgb,
    sensor_colour,
    text_colour_on,
)

# Share of the sheet that the detections take beside the bird's-eye view.
_DETECTIONS_SHARE = 0.64
_IN_A_ROW = 3  # sensors
BOX_STATUSES = ("ground_truth", "correct", "false", "missed", "ignored")
NO_GATE = "no gate: every sensor is trusted alike"

Facts = tuple[tuple[str, str], ...]


def draw_scene(scene: Scene, judge: Judge, *, width: int = 1600) -> np.ndarray:
    """Draw one frame as one detector saw it, before and after an attack if any.

    Args:
        scene: What to show; it is not changed.
        judge: Tells right, false and missed apart.
        width: Width of the sheet in pixels.

    Returns:
        (H', width, 3) uint8 RGB.
    """
    sheet = Sheet(width)
    clean = judge(scene.truth, scene.clean.detections)
    attacked = None
    if scene.attacked is not None:
        attacked = judge(scene.truth, scene.attacked.detections)
    y = sheet.headline(headline(scene), scene.detector)
    attack = (("attack", scene.attack),) if scene.attack else ()
    facts = (*attack, *scene.facts, *effect_facts(scene, clean, attacked))
    y = sheet.facts(sheet.left, y, sheet.inner, facts) + sheet.gap // 2
    for name in scene.touched:
        y = _attacked_row(sheet, y, scene, name) + sheet.gap
    y = _other_sensors(sheet, y, scene) + sheet.gap
    y = _detections_block(sheet, y, scene, clean, attacked)
    return sheet.rendered(y + sheet.gap)


def headline(scene: Scene) -> str:
    """Title of a sheet: the frame and what happened to it."""
    if not scene.touched:
        return f"frame {scene.frame_id}"
    fate = "fails" if "failure" in dict(scene.facts) else "under attack"
    return f"frame {scene.frame_id}: {' and '.join(scene.touched)} {fate}"


def effect_facts(scene: Scene, clean: Verdict, attacked: Verdict | None) -> Facts:
    """Loss, objects found and false detections, before → after."""
    facts = []
    if scene.attacked is not None and scene.clean.loss is not None:
        losses = f"{scene.clean.loss:.2f} → {scene.attacked.loss:.2f}"
        facts.append(("detection loss", losses))
    if scene.truth is None:
        return (*facts, ("labels", "none, detections are not judged"))
    states = [clean] if attacked is None else [clean, attacked]
    found, false = (
        " → ".join(str(one.count(word)) for one in states)
        for word in ("found", "false")
    )
    return (*facts, ("found", f"{found} of {clean.wanted}"), ("false", false))


def draw_input(
    sheet: Sheet,
    x: int,
    y: int,
    width: int,
    spec: SensorSpec,
    raster: np.ndarray,
    title: str,
    *,
    channel: int | None = None,
    clean: np.ndarray | None = None,
    note: str = "",
    swatch: Rgb | None = None,
) -> int:
    """One sensor's input (C, H, W) below its title; returns the lower end.

    Args:
        sheet: Where to draw.
        x: Left edge.
        y: Upper edge.
        width: In pixels.
        spec: Of the sensor.
        raster: What to show.
        title: The channel's name is added.
        channel: Which one to show; None for the first, without its name.
        clean: The input before an attack, to mark returns that came or went.
        note: Fainter words after the title.
        swatch: Colour of a square before the title.
    """
    keys: list[tuple[str, Rgb]] = []
    shown, scale = spec.channels[channel or 0], None
    if spec.kind != "image":
        scale = channel_scale(shown)
        title += "" if channel is None else f" · {spoken(shown)}"
        counts = {} if clean is None else change_counts(clean, raster, spec)
        keys = [
            (f"{counts[kind]:,} {kind}", CHANGE_COLOURS[kind])
            for kind in ("added", "removed")
            if counts.get(kind)
        ]
    y = sheet.titled(
        *(x, y, width, title), note=note, keys=keys, scale=scale, swatch=swatch
    )
    rgb = raster_picture(raster, spec, width, channel=channel or 0, clean=clean)
    return sheet.picture(x, y, rgb).bottom


def draw_change(
    sheet: Sheet, x: int, y: int, width: int, scene: Scene, name: str
) -> int:
    """Attacked minus clean of one sensor; returns the lower end."""
    spec = scene.sensors[name]
    before, after = scene.clean.inputs[name], scene.last.inputs[name]
    rgb, scale = difference_picture(before, after, spec, width)
    title, note = "attacked minus clean", ""
    if spec.kind != "image":
        title += f" · {spoken(spec.channels[changed_channel(before, after, spec)])}"
        note = f"of {change_counts(before, after, spec)['changed']:,} returns"
    if np.array_equal(before, after):
        note = "none"
    y = sheet.titled(x, y, width, title, note=note, scale=scale)
    return sheet.picture(x, y, rgb).bottom


def _attacked_row(sheet: Sheet, y: int, scene: Scene, name: str) -> int:
    """Clean, attacked and change of one sensor, labelled with it; the lower end."""
    spec, bar = scene.sensors[name], round(1.7 * sheet.text_px)
    clean, attacked = scene.clean.inputs[name], scene.last.inputs[name]
    channel = changed_channel(clean, attacked, spec)
    (x1, wide1), (x2, wide2), (x3, wide3) = sheet.columns(3, bar + sheet.gap)
    draw_input(sheet, x1, y, wide1, spec, clean, "clean", channel=channel)
    draw_input(
        *(sheet, x2, y, wide2, spec, attacked, "attacked"), channel=channel, clean=clean
    )
    bottom = draw_change(sheet, x3, y, wide3, scene, name)
    colour, area = sensor_colour(name), Area(sheet.left, y, bar, bottom - y)
    sheet.fill(area, colour)
    sheet.text(
        (area.x + bar / 2, area.y + area.height / 2),
        shorten(name, area.height - sheet.text_px, sheet.text_px, bold=True),
        *(sheet.text_px, text_colour_on(colour)),
        bold=True,
        align="center",
        rotation=90,
    )
    return bottom


def _other_sensors(sheet: Sheet, y: int, scene: Scene) -> int:
    """The sensors that were not attacked and, beside an attack, the gate."""
    names = [name for name in scene.sensors if name not in scene.touched]
    columns = sheet.columns(_IN_A_ROW if scene.touched else min(4, len(names)))
    for first in range(0, len(names), len(columns)):
        bottoms, row = [y], names[first : first + len(columns)]
        for name, (x, width) in zip(row, columns, strict=False):
            bottoms.append(_sensor(sheet, x, y, width, scene, name))
        if scene.touched and row == names[first:] and len(row) < len(columns):
            x = columns[len(row)][0]
            beside = sheet.left + sheet.inner - x
            bottoms.append(draw_gate(sheet, x, y, beside, scene, max(bottoms)))
        y = max(bottoms) + sheet.gap
    if scene.touched and len(names) % len(columns) == 0:
        y = draw_gate(sheet, sheet.left, y, sheet.inner, scene) + sheet.gap
    return y - sheet.gap


def _sensor(sheet: Sheet, x: int, y: int, width: int, scene: Scene, name: str) -> int:
    raster, note = scene.clean.inputs[name], ""
    if scene.attacked is not None:
        same = np.array_equal(raster, scene.attacked.inputs[name])
        note = "identical in every bit" if same else "differs, though not attacked"
    spec, swatch = scene.sensors[name], sensor_colour(name)
    return draw_input(
        *(sheet, x, y, width, spec, raster, name), note=note, swatch=swatch
    )


def _detections_block(
    sheet: Sheet, y: int, scene: Scene, clean: Verdict, attacked: Verdict | None
) -> int:
    """Detections with legends and gate maps, beside the view from above."""
    left, width = sheet.left, round(sheet.inner * _DETECTIONS_SHARE)
    views = [("detections on the clean input", scene.clean, clean)]
    if scene.attacked is not None and attacked is not None:
        views.append(("detections on the attacked input", scene.attacked, attacked))
    top = y
    for title, view, verdict in views:
        y = sheet.titled(left, y, width, title, note=str(verdict))
        y = draw_detections(sheet, left, y, width, scene, view, verdict) + sheet.gap
    statuses = BOX_STATUSES if scene.truth is not None else ("detected",)
    y = sheet.box_legend(left, y, width, statuses)
    if scene.last.gate_map is not None:
        y = _gate_maps(sheet, left, y + sheet.gap, width, scene)
    if not scene.touched:
        y = draw_gate(sheet, left, y + sheet.gap, width, scene)
    x = left + width + sheet.gap
    beside = sheet.left + sheet.inner - x
    bottom = max(y, top + round(0.7 * beside))
    _from_above(sheet, x, top, beside, bottom, scene, attacked or clean)
    return bottom


def draw_detections(
    sheet: Sheet, x: int, y: int, width: int, scene: Scene, view: View, verdict: Verdict
) -> int:
    """The picture that the detector was given, with judged boxes; its lower end."""
    picture = scene.backdrop(view)
    if picture is None:
        name, spec = next(iter(scene.sensors.items()))
        rgb = raster_picture(view.inputs[name], spec, width)
    else:
        rgb = image_picture(picture, width)
    area = sheet.picture(x, y, rgb)
    scale = width / scene.original_size[1]
    draw_boxes(sheet, area, verdict.layers(), scale=scale)
    return area.bottom


def _gate_maps(sheet: Sheet, x: int, y: int, width: int, scene: Scene) -> int:
    """The gate over the image, clean and attacked, with the sensors' colours."""
    views = [("gate on the clean input", scene.clean)]
    if scene.attacked is not None:
        views.append(("gate on the attacked input", scene.attacked))
    names, note = list(scene.sensors), "grey: no sensor disagrees"
    wide = (width - (len(views) - 1) * sheet.gap) // len(views)
    for number, (title, view) in enumerate(views):
        left = x + number * (width - wide)
        picture = scene.backdrop(view)
        if picture is None:
            picture = np.full((*scene.image_size, 3), 96, dtype=np.uint8)
        assert view.gate_map is not None
        top = sheet.titled(left, y, wide, title, note=note)
        rgb = gate_picture(view.gate_map, names, as_rgb(picture), wide)
        bottom = sheet.picture(left, top, rgb).bottom
    keys = [(name, sensor_colour(name)) for name in [*names, NOBODY]]
    return sheet.legend(x, bottom + sheet.gap, width, keys)


def draw_gate(
    sheet: Sheet, x: int, y: int, width: int, scene: Scene, least: int = 0
) -> int:
    """The gate's state in words and a bar for each sensor and for "none".

    A tick on each bar tells its value on the clean input. Without a gate, an area down
    to ``least`` says so.

    Returns:
        The lower end.
    """
    view, names, px = scene.last, list(scene.sensors), sheet.text_px
    note = "tick: on the clean input" if scene.attacked is not None else ""
    if view.gate is None:
        height = max(least - y, 4 * px)
        area = Area(x, y, width, height)
        sheet.placeholder(area, NO_GATE, ground=TRACK, ink=FAINT_INK)
        return y + height
    y = sheet.titled(x, y, width, "gate: which sensor disagrees", note=note)
    state = view.state(names)
    if state is not None:
        before = None if scene.attacked is None else scene.clean.state(names)
        y = _state_band(sheet, x, y, width, state, before) + px // 2
    values, marks = probabilities(view.gate, len(names)), None
    if scene.attacked is not None and scene.clean.gate is not None:
        marks = probabilities(scene.clean.gate, len(names))
    return _bars(sheet, x, y, width, [*names, NOBODY], values, marks, scene.touched)


def _state_band(
    sheet: Sheet, x: int, y: int, width: int, state: str, clean: str | None
) -> int:
    """The state in words on its colour; that on the clean input if there is space."""
    px, colour, margin = sheet.text_px, sensor_colour(state), sheet.text_px // 2
    area = Area(x, y, width, round(1.5 * line_height(px)))
    sheet.fill(area, colour)
    ink, top = text_colour_on(colour), y + (area.height - line_height(px)) / 2
    text = shorten(state_text(state), width - 2 * margin, px, bold=True)
    used = sheet.text((x + margin, top), text, px, ink, bold=True)
    note = "" if clean is None else f"clean: {state_text(clean, brief=True)}"
    free = width - used - 2 * margin - px
    if note and text_width(note, sheet.fine_px) <= free:
        spot = (x + width - margin, y + (area.height - line_height(sheet.fine_px)) / 2)
        sheet.text(spot, note, sheet.fine_px, ink, align="right")
    return area.bottom


def _bars(
    sheet: Sheet,
    x: int,
    y: int,
    width: int,
    names: Sequence[str],
    values: np.ndarray,
    marks: np.ndarray | None,
    touched: Sequence[str],
) -> int:
    """A bar for each name, as long as its value, over an axis from 0 to 1."""
    px, pitch = sheet.text_px, round(1.6 * line_height(sheet.text_px))
    labels = [f"{name} (attacked)" if name in touched else name for name in names]
    wide = max(text_width(label, px, bold=True) for label in labels) + px
    left = x + min(round(wide), width // 2)
    span = max(1, x + width - round(text_width("0.00", px, bold=True)) - px - left)
    high = round(0.6 * pitch)
    for number, name in enumerate(names):
        top = y + number * pitch + (pitch - high) // 2
        text_y = y + number * pitch + (pitch - line_height(px)) / 2
        sheet.text((x, text_y), labels[number], px, INK, bold=name in touched)
        sheet.fill(Area(left, top, span, high), TRACK)
        long = round(span * float(values[number]))
        sheet.fill(Area(left, top, long, high), sensor_colour(name))
        if marks is not None:
            at = left + round(span * float(marks[number]))
            sheet.fill(Area(at - 1, top - 3, 2, high + 6), INK)
        best, text = number == int(values.argmax()), f"{values[number]:.2f}"
        sheet.text((x + width, text_y), text, px, INK, bold=best, align="right")
    bottom = y + pitch * len(names)
    for tick, align in ((0.0, "left"), (0.5, "center"), (1.0, "right")):
        spot = (left + span * tick, bottom)
        sheet.text(spot, f"{tick:g}", sheet.fine_px, FAINT_INK, align=align)
    return bottom + line_height(sheet.fine_px)


def _from_above(
    sheet: Sheet,
    x: int,
    y: int,
    width: int,
    bottom: int,
    scene: Scene,
    verdict: Verdict,
) -> None:
    """The bird's-eye view down to ``bottom``, its title and legend included."""
    changes = scene.changed_points()
    note, scale = (
        ("height over camera", HEIGHT_SCALE) if scene.last.points else ("", None)
    )
    if changes:
        step = drawn_of(changes)
        note = "" if step == 1 else f"1 in {step} moved points shown"
        scale = None
        height = round(1.6 * line_height(sheet.fine_px))
        keys = [
            (
                f"{kind} {sum(change.count(kind) for change in changes.values()):,}",
                colour,
            )
            for kind, colour in CHANGE_COLOURS.items()
        ]
        bottom = bottom - height
        sheet.legend(x, bottom, width, keys)
    y = sheet.titled(x, y, width, "from above", note=note, scale=scale)
    area = Area(x, y, width, max(bottom - y, 4 * line_height(sheet.text_px)))
    draw_bev(
        *(sheet, area, scene.calibration),
        points=scene.last.points,
        layers=verdict.truth_in_space(),
        changes=changes,
        image_size=scene.image_size,
    )
