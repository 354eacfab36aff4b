"""The sheet of one detector: what it was given, what it found, what its gate says.

From top to bottom: what was done (facts), each attacked sensor clean | attacked |
change, the other sensors and the gate, and the detections beside the view from above.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perception.core.gate_state import NOBODY
from perception.core.structures import SensorSpec
from perception.visualization.bev import draw_bev, one_line_in
from perception.visualization.boxes import draw_boxes, draw_boxes_3d
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
from perception.visualization.scene import Judge, Scene, View, state_text
from perception.visualization.sheet import Area, Column, Sheet
from perception.visualization.style import (
    ARROW,
    CHANGE_COLOURS,
    FAINT_INK,
    HEIGHT_SCALE,
    INK,
    REGION,
    TRACK,
    Rgb,
    line_height,
    sensor_colour,
    shorten,
    text_colour_on,
    text_width,
)

# Share of the sheet that the detections take beside the bird's-eye view.
_DETECTIONS_SHARE = 0.64
_IN_A_ROW = 3  # sensors
BOX_STATUSES = ("ground_truth", "correct", "false", "missed", "ignored")

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
    body = sheet.body
    body.headline(headline(scene), scene.detector)
    attack = (("attack", scene.attack),) if scene.attack else ()
    body.facts((*attack, *scene.facts, *effect_facts(scene, judge)))
    body.y += sheet.gap // 2
    for name in scene.touched:
        _attacked_row(body, scene, name)
        body.gap()
    _other_sensors(body, scene)
    body.gap()
    left, right = body.shares(_DETECTIONS_SHARE)
    top = left.y
    draw_detections(left, scene, scene.clean, judge, "detections on the clean input")
    if scene.attacked is not None:
        left.gap()
        title = "detections on the attacked input"
        draw_detections(left, scene, scene.attacked, judge, title)
    left.gap()
    left.box_legend(BOX_STATUSES if scene.truth is not None else ("detected",))
    if scene.last.gate_map is not None:
        left.gap()
        _gate_maps(left, scene)
    if not scene.touched:
        left.gap()
        draw_gate(left, scene)
    body.y = max(left.y, top + round(0.7 * right.width))
    draw_from_above(right, scene, scene.last, judge, body.y)
    return sheet.rendered(max(body.y, right.y) + sheet.gap)


def headline(scene: Scene) -> str:
    """Title of a sheet: the frame and what happened to it."""
    if not scene.touched:
        return f"frame {scene.frame_id}"
    fate = "fails" if "failure" in dict(scene.facts) else "under attack"
    return f"frame {scene.frame_id}: {' and '.join(scene.touched)} {fate}"


def effect_facts(scene: Scene, judge: Judge) -> Facts:
    """Loss, objects found and false detections, before → after."""
    views = [scene.clean] if scene.attacked is None else [scene.clean, scene.attacked]
    facts = []
    if scene.attacked is not None and scene.clean.loss is not None:
        losses = " → ".join(f"{view.loss:.2f}" for view in views)
        facts.append(("detection loss", losses))
    if scene.truth is None:
        return (*facts, ("labels", "none, detections are not judged"))
    verdicts = [judge(scene.truth, view.detections) for view in views]
    found, false = (
        " → ".join(str(verdict.count(word)) for verdict in verdicts)
        for word in ("found", "false")
    )
    wanted = verdicts[0].wanted
    return (*facts, ("found", f"{found} of {wanted}"), ("false", false))


def draw_input(
    column: Column,
    spec: SensorSpec,
    raster: np.ndarray,
    title: str,
    *,
    channel: int | None = None,
    clean: np.ndarray | None = None,
    note: str = "",
    swatch: Rgb | None = None,
) -> None:
    """One sensor's input (C, H, W) below its title.

    Args:
        column: Where to draw.
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
    column.title(title, note=note, keys=keys, scale=scale, swatch=swatch)
    width = column.width
    column.picture(
        raster_picture(raster, spec, width, channel=channel or 0, clean=clean)
    )


def draw_change(column: Column, scene: Scene, name: str) -> None:
    """Attacked minus clean of one sensor."""
    spec = scene.sensors[name]
    before, after = scene.clean.inputs[name], scene.last.inputs[name]
    rgb, scale = difference_picture(before, after, spec, column.width)
    title, note = "attacked minus clean", ""
    if spec.kind != "image":
        title += f" · {spoken(spec.channels[changed_channel(before, after, spec)])}"
        note = f"of {change_counts(before, after, spec)['changed']:,} returns"
    note = "none" if np.array_equal(before, after) else note
    column.title(title, note=note, scale=scale)
    column.picture(rgb)


def draw_detections(
    column: Column, scene: Scene, view: View, judge: Judge, title: str = ""
) -> None:
    """The picture that the detector was given, with judged boxes."""
    verdict, picture = judge(scene.truth, view.detections), scene.backdrop(view)
    if title:
        column.title(title, note=str(verdict))
    if picture is None:
        name, spec = next(iter(scene.sensors.items()))
        rgb = raster_picture(view.inputs[name], spec, column.width)
    else:
        rgb = image_picture(picture, column.width)
    area, scale = column.picture(rgb), column.width / scene.original_size[1]
    if not verdict.is_in_space:
        draw_boxes(column.sheet, area, verdict.layers(), scale=scale)
        return
    scale = column.width / scene.image_size[1]
    layers = verdict.layers_in_space()
    draw_boxes_3d(column.sheet, area, layers, scene.calibration, scale=scale)


def _attacked_row(body: Column, scene: Scene, name: str) -> None:
    """Clean, attacked and change of one sensor, labelled with it."""
    sheet, spec, px = body.sheet, scene.sensors[name], body.sheet.text_px
    clean, attacked = scene.clean.inputs[name], scene.last.inputs[name]
    channel, bar = changed_channel(clean, attacked, spec), round(1.7 * px)
    columns = body.split(3, bar + sheet.gap)
    draw_input(columns[0], spec, clean, "clean", channel=channel)
    draw_input(columns[1], spec, attacked, "attacked", channel=channel, clean=clean)
    draw_change(columns[2], scene, name)
    label = Area(body.x, body.y, bar, columns[2].y - body.y)
    body.join(columns)
    sheet.fill(label, sensor_colour(name))
    text, ink = (
        shorten(name, label.height - px, px, bold=True),
        text_colour_on(sensor_colour(name)),
    )
    middle = (label.x + bar / 2, label.y + label.height / 2)
    sheet.text(middle, text, px, ink, bold=True, align="center", upright=True)


def _other_sensors(body: Column, scene: Scene) -> None:
    """The sensors that were not attacked and, beside an attack, the gate."""
    names = [name for name in scene.sensors if name not in scene.touched]
    most = _IN_A_ROW if scene.touched else min(4, len(names))
    rows = [names[first : first + most] for first in range(0, len(names), most)]
    if scene.touched and (not rows or len(rows[-1]) == most):
        rows.append([])  # for the gate alone
    for number, row in enumerate(rows):
        columns = body.split(most)
        for name, column in zip(row, columns, strict=False):
            raster, note = scene.clean.inputs[name], ""
            if scene.attacked is not None:
                same = np.array_equal(raster, scene.attacked.inputs[name])
                note = "identical in every bit" if same else "differs, not attacked"
            spec, swatch = scene.sensors[name], sensor_colour(name)
            draw_input(column, spec, raster, name, note=note, swatch=swatch)
        if scene.touched and number == len(rows) - 1:
            gate = columns[len(row)]
            gate.width = body.x + body.width - gate.x
            draw_gate(gate, scene, max(column.y for column in columns))
        body.join(columns)
        body.y += body.sheet.gap if number < len(rows) - 1 else 0


def _gate_maps(column: Column, scene: Scene) -> None:
    """The gate over the image, clean and attacked, with the sensors' colours."""
    views = [("gate on the clean input", scene.clean)]
    if scene.attacked is not None:
        views.append(("gate on the attacked input", scene.attacked))
    names, columns = list(scene.sensors), column.split(len(views))
    for (title, view), part in zip(views, columns, strict=True):
        picture = scene.backdrop(view)
        if picture is None:
            picture = np.full((*scene.image_size, 3), 96, dtype=np.uint8)
        assert view.gate_map is not None
        part.title(title, note="grey: no sensor disagrees")
        part.picture(gate_picture(view.gate_map, names, as_rgb(picture), part.width))
    column.join(columns)
    column.gap()
    column.legend([(name, sensor_colour(name)) for name in [*names, NOBODY]])


def draw_gate(column: Column, scene: Scene, least: int = 0) -> None:
    """The gate's state in words and a bar for each sensor and for "none".

    A tick on each bar tells its value on the clean input. Without a gate, an area down
    to ``least`` says so.
    """
    view, names, px = scene.last, list(scene.sensors), column.sheet.text_px
    attacked = scene.attacked is not None
    if view.gate is None:
        message = "no gate: every sensor is trusted alike"
        column.placeholder(max(least - column.y, 4 * px), message, TRACK, FAINT_INK)
        return
    note = "tick: on the clean input" if attacked else ""
    column.title("gate: which sensor disagrees", note=note)
    state = view.state(names)
    if state is not None:
        _state_band(column, state, scene.clean.state(names) if attacked else None)
        column.y += px // 2
    values, marks = probabilities(view.gate, len(names)), None
    if attacked and scene.clean.gate is not None:
        marks = probabilities(scene.clean.gate, len(names))
    _bars(column, [*names, NOBODY], values, marks, scene.touched)


def _state_band(column: Column, state: str, clean: str | None) -> None:
    """The state in words on its colour; that on the clean input if there is space."""
    sheet, px, fine_px = column.sheet, column.sheet.text_px, column.sheet.fine_px
    area, margin = column.area(round(1.5 * line_height(px))), px // 2
    sheet.fill(area, sensor_colour(state))
    ink, top = text_colour_on(sensor_colour(state)), area.y + line_height(px) / 4
    text = shorten(state_text(state), area.width - 2 * margin, px, bold=True)
    used = sheet.text((area.x + margin, top), text, px, ink, bold=True)
    note = "" if clean is None else f"clean: {state_text(clean, brief=True)}"
    if note and text_width(note, fine_px) <= area.width - used - 2 * margin - px:
        place = (area.x + area.width - margin, top + (px - fine_px) / 2)
        sheet.text(place, note, fine_px, ink, align="right")


def _bars(
    column: Column,
    names: Sequence[str],
    values: np.ndarray,
    marks: np.ndarray | None,
    touched: Sequence[str],
) -> None:
    """A bar for each name, as long as its value, over an axis from 0 to 1."""
    sheet, px, right = column.sheet, column.sheet.text_px, column.x + column.width
    labels = [f"{name} (attacked)" if name in touched else name for name in names]
    wide = max(text_width(label, px, bold=True) for label in labels) + px
    left = column.x + min(round(wide), column.width // 2)
    span = max(1, right - round(text_width("0.00", px, bold=True)) - px - left)
    for number, (name, label) in enumerate(zip(names, labels, strict=True)):
        row = column.area(round(1.6 * line_height(px)))
        high = round(0.6 * row.height)
        bar = Area(left, row.y + (row.height - high) // 2, span, high)
        text_y, value = row.y + (row.height - line_height(px)) / 2, values[number]
        sheet.text((column.x, text_y), label, px, bold=name in touched)
        sheet.fill(bar, TRACK)
        sheet.fill(bar._replace(width=round(span * float(value))), sensor_colour(name))
        if marks is not None:
            at = left + round(span * float(marks[number]))
            sheet.fill(Area(at - 1, bar.y - 3, 2, high + 6), INK)
        best = number == int(values.argmax())
        sheet.text((right, text_y), f"{value:.2f}", px, bold=best, align="right")
    for tick, align in ((0.0, "left"), (0.5, "center"), (1.0, "right")):
        place = (left + span * tick, column.y)
        sheet.text(place, f"{tick:g}", sheet.fine_px, FAINT_INK, align=align)
    column.y += line_height(sheet.fine_px)


def draw_from_above(
    column: Column,
    scene: Scene,
    view: View,
    judge: Judge,
    bottom: int,
    *,
    forward_m: tuple[float, float] = (-4.0, 70.0),
    small: bool = False,
) -> None:
    """A view seen from above, down to ``bottom``, title and meaning of marks included.

    Of the attacked one also what became of points, where objects were moved, and the
    regions that they are certified to stay in.

    Args:
        column: Where to draw.
        scene: What to show.
        view: Its clean or its attacked view.
        judge: Tells right, false and missed apart.
        bottom: Where to end, in pixels from the sheet's top.
        forward_m: Distance ahead at the lower and at the upper edge.
        small: Objects only matter: grey points, and nothing about what became of them.
    """
    attacked = view is scene.attacked
    changes = scene.changed_points() if attacked and not small else {}
    before, now = (judge(scene.truth, one.detections) for one in (scene.clean, view))
    coloured = view.points and not small
    note, scale = ("height over camera", HEIGHT_SCALE) if coloured else ("", None)
    keys = []
    if changes:
        step, scale = one_line_in(changes), None
        note = "" if step == 1 else f"1 in {step} moved points shown"
        for kind, colour in CHANGE_COLOURS.items():
            total = sum(change.count(kind) for change in changes.values())
            keys.append((f"{kind} {total:,}", colour))
    arrows = now.moved_from(before)
    if attacked and len(arrows):
        keys.append(("moved object", ARROW))
    if scene.regions:
        keys.append(("certified to stay inside", REGION))
    sheet = column.sheet
    if keys:
        bottom -= round(1.6 * line_height(sheet.fine_px))
    column.title("from above", note=note, scale=scale)
    area = column.area(max(bottom - column.y, 4 * line_height(sheet.text_px)))
    draw_bev(
        *(sheet, area, scene.calibration),
        points=view.points,
        layers=now.layers_in_space(),
        changes=changes,
        arrows=arrows,
        regions=scene.regions,
        image_size=scene.image_size,
        forward_m=forward_m,
        grey=small,
    )
    if keys:
        column.legend(keys)
