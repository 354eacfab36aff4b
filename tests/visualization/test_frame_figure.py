"""Whole frames: any sensors, any size, nothing changed, fast enough."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.core.structures import Objects
from perception.datasets.kitti.reader import KittiFrames
from perception.visualization.boxes import BoxLayer
from perception.visualization.frame_figure import draw_frame, kind_of


def frozen(frame):
    """Make every array read-only, so that a write raises."""
    arrays = [*frame.sensors.values(), frame.calibration.image_P_cam]
    if frame.objects is not None:
        arrays += [a for a in vars(frame.objects).values() if a is not None]
    for array in arrays:
        array.setflags(write=False)
    return frame


@given(
    height=st.integers(8, 90),
    width=st.integers(8, 130),
    count=st.integers(0, 6),
    sheet=st.integers(320, 700),
)
@settings(max_examples=20, deadline=None)
def test_any_size_and_no_input_changes(make_frame, height, width, count, sheet):
    frame = frozen(make_frame((height, width), count, seed=height))
    picture = draw_frame(frame, width=sheet)
    assert picture.shape[1] == sheet and picture.dtype == np.uint8


@pytest.mark.parametrize(
    "names",
    [("camera",), ("lidar",), ("depth",), ("lidar", "depth"), ()],
    ids=lambda names: "+".join(names) or "nothing",
)
@pytest.mark.parametrize("labelled", [True, False])
def test_any_set_of_sensors(make_frame, names, labelled):
    frame = make_frame()
    frame = replace(
        frame,
        sensors={name: frame.sensors[name] for name in names},
        objects=frame.objects if labelled else None,
    )
    assert draw_frame(frozen(frame), width=400).shape[1] == 400


def test_sensors_of_any_name_and_size(make_frame):
    frame = make_frame()
    sensors = {
        "thermal": np.full((30, 40, 1), 100, np.uint8),
        "radar": np.zeros((0, 5), np.float32),
        **frame.sensors,
    }
    transforms = dict(frame.calibration.cam_T_sensor) | {"radar": np.eye(4)}
    calibration = replace(frame.calibration, cam_T_sensor=transforms)
    frame = replace(frame, sensors=sensors, calibration=calibration)
    kinds = {name: kind_of(frame, name) for name in [*sensors, "sonar"]}
    assert kinds == {
        "thermal": "image",
        "radar": "points",
        "camera": "image",
        "lidar": "points",
        "depth": "depth",
        "sonar": "missing",
    }
    shown = draw_frame(frame, width=400, sensors=[*sensors, "sonar"])
    assert shown.shape[1] == 400


def test_detections_without_3d_boxes(make_frame):
    names, box = np.array(["Tram"], object), np.array([[5.0, 5, 20, 20]])
    detections = Objects.from_boxes(names, box, np.array([0.9]))
    layers = [BoxLayer(detections, "false")]
    with_boxes = draw_frame(make_frame(), width=400, layers=layers)
    without = draw_frame(make_frame(), width=400, layers=[])
    assert with_boxes.shape[1] == without.shape[1] == 400


def test_boxes_are_drawn_on_depth_when_there_is_no_picture(make_frame):
    frame = make_frame((100, 200))
    only_depth = replace(frame, sensors={"depth": frame.sensors["depth"]})
    drawn = draw_frame(only_depth, width=600)
    bare = draw_frame(replace(only_depth, objects=None), width=600, layers=[])
    assert drawn.shape != bare.shape or (drawn != bare).any()


def test_too_narrow_a_sheet_is_refused(make_frame):
    with pytest.raises(ValueError, match="at least 320"):
        draw_frame(make_frame(), width=100)


def test_frame_of_kitti_size_takes_well_under_half_a_second(make_frame):
    frame = make_frame((375, 1242), 12)
    points = np.random.default_rng(0).uniform(
        [2, -20, -2, 0], [70, 20, 2, 1], (120_000, 4)
    )
    frame = replace(frame, sensors={**frame.sensors, "lidar": points})
    draw_frame(frame)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        draw_frame(frame)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.5


def test_real_kitti_frame(kitti_root):
    frame = KittiFrames(kitti_root, optional_sensors=("depth",))[0]
    assert draw_frame(frozen(frame)).shape[1] == 1600
