"""A recording for the Rerun viewer: camera, points, depth, boxes and gate over time.

Needs the extra ``viewer`` (``pip install -e '.[viewer]'``); open the file with
``rerun FILE.rrd``.

Shape letters: P points; N objects; S sensors.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from perception.core.dependencies import require_extra
from perception.core.files import replacing
from perception.core.gate_state import ALARM, NOBODY
from perception.core.geometry import transform_points
from perception.core.structures import DataError
from perception.visualization.boxes import BoxLayer, corners_of, tag_of
from perception.visualization.images import as_rgb
from perception.visualization.scene import Judge, Scene, Verdict, View, state_text
from perception.visualization.style import (
    ARROW,
    BOX_STYLES,
    CHANGE_COLOURS,
    HEIGHT_SCALE,
    REGION,
    sensor_colour,
)

# From the cam frame (x right, y down, z forward) corners, the edges of a box.
_EDGES = [[0, 1, 2, 3, 0], [4, 5, 6, 7, 4], [0, 4], [1, 5], [2, 6], [3, 7]]


def load_rerun() -> ModuleType:
    """The Rerun SDK.

    Raises:
        DataError: If it is not installed; tells how to install it.
    """
    return require_extra("rerun", "viewer")


def write_recording(
    path: str | os.PathLike, scenes: Iterable[Scene], judge: Judge
) -> None:
    """Write scenes one after the other on the timeline ``frame``.

    Below ``clean`` and ``attacked`` each has the sensors' inputs, the point clouds and
    the detections; ``world`` holds what is common to both, ``gate`` a curve a sensor,
    and ``gate_state`` in words what a gate with alarms says of the frame. Of boxes in
    metres, ``attacked/moved`` has arrows and ``certified`` the regions of objects.

    Args:
        path: File to write, usually ``.rrd``.
        scenes: What to show.
        judge: Tells right, false and missed apart.

    Raises:
        DataError: If Rerun is not installed, there is nothing to show, or the file
            cannot be written.
    """
    rr = load_rerun()
    with replacing(path) as temporary:
        recording = rr.RecordingStream("oddfusion", recording_id=Path(path).stem)
        recording.save(str(temporary))
        count = 0
        for count, scene in enumerate(scenes, start=1):
            recording.set_time("frame", sequence=count - 1)
            _log_scene(rr, recording, scene, judge)
        recording.flush(blocking=True)
        with suppress(AttributeError):  # older releases close with the object
            recording.disconnect()
        if not count:
            raise DataError(f"{path}: no frames to record")


def _log_scene(rr: Any, recording: Any, scene: Scene, judge: Judge) -> None:
    height, width = scene.image_size
    image_P_cam = scene.calibration.image_P_cam
    recording.log("world", rr.ViewCoordinates.RDF)
    pinhole = rr.Pinhole(
        image_from_camera=image_P_cam[:, :3], width=width, height=height
    )
    views = {"clean": scene.clean}
    if scene.attacked is not None:
        views["attacked"] = scene.attacked
    text = " · ".join(f"{name} {value}" for name, value in scene.facts)
    recording.log(
        "about", rr.TextLog(f"{scene.frame_id} {scene.detector} {scene.attack} {text}")
    )
    verdicts: list[Verdict] = []
    for name, view in views.items():
        verdict = judge(scene.truth, view.detections)
        verdicts.append(verdict)
        recording.log(f"world/{name}/image", pinhole)
        _log_inputs(rr, recording, scene, view, f"world/{name}")
        _log_boxes(rr, recording, scene, verdict, f"world/{name}")
        _log_gate(rr, recording, scene, view, name)
    _log_places(rr, recording, scene, verdicts[-1].moved_from(verdicts[0]))


def _log_inputs(rr: Any, recording: Any, scene: Scene, view: View, root: str) -> None:
    """Pictures and depth maps behind the camera, points in the world."""
    for name, spec in scene.sensors.items():
        value = view.inputs[name]
        if spec.kind == "image":
            picture = as_rgb(value.transpose(1, 2, 0))
            recording.log(f"{root}/image/{name}", rr.Image(picture))
        elif spec.kind == "depth":
            recording.log(f"{root}/{name}", rr.DepthImage(value[0], meter=1.0))
        else:
            _log_points(rr, recording, scene, view.points[name], name, f"{root}/{name}")
    if not any(spec.kind == "image" for spec in scene.sensors.values()):
        backdrop = scene.backdrop(view)
        if backdrop is not None:
            recording.log(f"{root}/image/picture", rr.Image(as_rgb(backdrop)))


def _log_points(
    rr: Any, recording: Any, scene: Scene, points: np.ndarray, name: str, path: str
) -> None:
    """Points coloured by height; on top, what an attack did to them."""
    cam_T_sensor = scene.calibration.cam_T_sensor[name]
    xyz = transform_points(cam_T_sensor, points[:, :3])
    colours = HEIGHT_SCALE.colours(HEIGHT_SCALE.levels(-xyz[:, 1]))
    recording.log(path, rr.Points3D(xyz, colors=colours, radii=0.04))
    if scene.attacked is None or "attacked" not in path.split("/"):
        return
    change = scene.changed_points().get(name)
    if change is None:
        return
    ends = (change.moved_from, change.moved_to)
    lines = np.stack([transform_points(cam_T_sensor, end) for end in ends], axis=1)
    recording.log(
        f"{path}/moved", rr.LineStrips3D(lines, colors=[CHANGE_COLOURS["moved"]])
    )
    for kind in ("added", "removed"):
        cloud = transform_points(cam_T_sensor, getattr(change, kind))
        dots = rr.Points3D(cloud, colors=[CHANGE_COLOURS[kind]], radii=0.08)
        recording.log(f"{path}/{kind}", dots)


def _log_boxes(
    rr: Any, recording: Any, scene: Scene, verdict: Verdict, root: str
) -> None:
    """Judged 2D boxes on the picture, 3D boxes in the world."""
    scale = scene.image_size[1] / scene.original_size[1]
    for layer in verdict.layers():
        statuses = layer.statuses()
        for status in BOX_STYLES:
            chosen = layer.objects.select(statuses == status)
            if not len(chosen) and status not in statuses:
                continue
            boxes = rr.Boxes2D(
                array=chosen.boxes_px * scale,
                array_format=rr.Box2DFormat.XYXY,
                labels=[tag_of(chosen, n) for n in range(len(chosen))],
                colors=[BOX_STYLES[status].colour] * len(chosen),
                show_labels=False,
            )
            recording.log(f"{root}/image/boxes/{status}", boxes)
    in_space = {"labels": verdict.truth_in_space()}
    if verdict.is_in_space:
        in_space["detections"] = [BoxLayer(verdict.detections, list(verdict.state))]
    for name, layers in in_space.items():
        for layer in layers:
            statuses = layer.statuses()
            strips, colours = [], []
            for status in BOX_STYLES:
                corners = corners_of(layer.objects.select(statuses == status))
                strips += [box[edge] for box in corners for edge in _EDGES]
                colour = BOX_STYLES[status].colour
                colours += [colour] * (len(corners) * len(_EDGES))
            recording.log(f"{root}/{name}", rr.LineStrips3D(strips, colors=colours))


def _log_places(rr: Any, recording: Any, scene: Scene, moved: np.ndarray) -> None:
    """Arrows where objects were moved, and the regions that they are certified for."""
    if scene.attacked is not None and scene.is_in_space:
        arrows = rr.Arrows3D(
            origins=moved[:, 0], vectors=moved[:, 1] - moved[:, 0], colors=[ARROW]
        )
        recording.log("world/attacked/moved", arrows)
    if scene.regions:
        ground_m = _ground(scene)
        rings = [
            np.insert(np.vstack([one, one[:1]]), 1, ground_m, axis=1)
            for one in scene.regions
        ]
        recording.log("world/certified", rr.LineStrips3D(rings, colors=[REGION]))


def _ground(scene: Scene) -> float:
    """How far below the camera the objects stand, y in metres."""
    known = corners_of(scene.truth) if scene.truth is not None else np.zeros((0, 8, 3))
    return float(np.median(known[:, :4, 1])) if len(known) else 0.0


def _log_gate(rr: Any, recording: Any, scene: Scene, view: View, which: str) -> None:
    """One curve per sensor, one for "none", and one (0, 1) for an alarm of nobody."""
    if view.gate is None:
        return
    curves = dict(zip([*scene.sensors, NOBODY], view.gate, strict=True))
    state = view.state(list(scene.sensors))
    if state is not None:
        curves[ALARM] = state == ALARM
        told = rr.TextLog(state_text(state), color=sensor_colour(state))
        recording.log(f"gate_state/{which}", told)
    for name, value in curves.items():
        path = f"gate/{which}/{name}"
        style = rr.SeriesLines(colors=sensor_colour(name), names=name)
        recording.log(path, style, static=True)
        recording.log(path, rr.Scalars(float(value)))
