"""Recordings for the Rerun viewer."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from scene_makers import make_scene, make_view

from perception.core.structures import DataError, Objects
from perception.visualization.rerun_log import load_rerun, write_recording
from perception.visualization.scene import Judge

JUDGE = Judge.at_half_overlap(("Car", "Pedestrian", "Cyclist"))


@pytest.fixture(name="rr")
def rerun_or_skip():
    return pytest.importorskip(
        "rerun",
        reason="rerun is not installed (pip install -e '.[viewer]'): not tested",
    )


def test_recording_holds_sensors_boxes_and_gate(rr, tmp_path):
    path = tmp_path / "x.rrd"
    write_recording(path, [make_scene(), make_scene(attacked="lidar")], JUDGE)
    recording = rr.dataframe.load_recording(path)
    columns = " ".join(str(c) for c in recording.schema().component_columns())
    for entity in (
        "/world/clean/image/camera",
        "/world/attacked/lidar/moved",
        "/world/attacked/depth",
        "/world/clean/image/boxes/correct",
        "/gate/attacked/lidar",
    ):
        assert entity in columns, entity


def test_recording_holds_where_objects_were_moved_and_stay(rr, tmp_path):
    flat = make_view().detections
    boxes = np.array([[-2.0, 1.6, 12, 1.5, 1.6, 4, 0.1]])
    said = [
        Objects.from_boxes(
            flat.names[:1], flat.boxes_px[:1], flat.scores[:1], boxes + x
        )
        for x in (np.zeros(7), np.eye(7)[0] * 3)
    ]
    scene = replace(
        make_scene(attacked="camera", clean=make_view(detections=said[0])),
        attacked=make_view(detections=said[1]),
        regions=(np.array([[-4.0, 10], [0, 10], [0, 14]]),),
    )
    path = tmp_path / "x.rrd"
    write_recording(path, [scene], JUDGE)
    recording = rr.dataframe.load_recording(path)
    columns = " ".join(str(c) for c in recording.schema().component_columns())
    assert "/world/attacked/moved" in columns and "/world/certified" in columns


@pytest.mark.parametrize(("alarm", "seen"), [(0.5, True), (None, False)])
def test_recording_holds_alarms_of_gates_that_raise_them(rr, tmp_path, alarm, seen):
    scene = make_scene()
    path = tmp_path / "x.rrd"
    view = replace(scene.clean, alarm=alarm)
    write_recording(path, [replace(scene, clean=view)], JUDGE)
    recording = rr.dataframe.load_recording(path)
    columns = " ".join(str(c) for c in recording.schema().component_columns())
    assert "/gate/clean/lidar" in columns
    for entity in ("/gate/clean/alarm", "/gate_state/clean"):
        assert (entity in columns) == seen


def test_nothing_to_record_leaves_no_file(rr, tmp_path):
    with pytest.raises(DataError, match="no frames"):
        write_recording(tmp_path / "x.rrd", [], JUDGE)
    assert not list(tmp_path.iterdir())


def test_without_rerun_the_message_tells_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(DataError, match=r"pip install -e '\.\[viewer\]'"):
        load_rerun()
