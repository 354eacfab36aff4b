"""All sensors stay in register under every geometric transform."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.registry import TRANSFORMS
from tiny_kitti import CALIBRATION, SIZE, make_frame, points_at

from perception.core.structures import Frame, Objects
from perception.datasets.transforms import (
    PackFrame,
    RandomAffineFrame,
    RandomColour,
    ResizeFrame,
    metric_targets,
    resize_transform,
    warp_boxes,
    warp_frame,
)
from perception.models.preprocessor import MultiModalPreprocessor

SENSORS = dict(
    camera=dict(kind="image", channels=[(c, "grey", 0, 255) for c in "rgb"]),
    lidar=dict(
        kind="points",
        columns=("x", "y", "z", "reflectance"),
        channels=[("depth_m", "m", 0, 80), ("reflectance", "1", 0, 1)],
    ),
    depth=dict(kind="depth", channels=[("depth_m", "m", 0, 80)]),
)


def marked(x1: int, y1: int, x2: int, y2: int, size=SIZE) -> Frame:
    """One rectangle, seen by all sensors, with its box; all else is dark."""
    image = np.zeros((*size, 3), np.uint8)
    image[y1:y2, x1:x2] = 200
    depth_m = np.zeros(size, np.float32)
    depth_m[y1:y2, x1:x2] = 12.5
    points = points_at((x1 + x2 - 1) / 2, (y1 + y2 - 1) / 2, 12.5)
    sensors = {"camera": image, "lidar": points, "depth": depth_m}
    boxes_px = np.array([[x1, y1, x2, y2]], float)
    objects = Objects.from_boxes(np.array(["Car"], object), boxes_px)
    return Frame("000007", sensors, CALIBRATION, size, objects)


def detector_inputs(frame: Frame) -> tuple[dict, torch.Tensor]:
    """What the detector sees, unpadded, and the training boxes."""
    packed = PackFrame(min_size_px=0)(
        {
            "frame": frame,
            "objects": frame.objects,
            "original_size": SIZE,
            "class_index": {"Car": 0},
        }
    )
    sample = packed["data_samples"]
    batch = {
        "inputs": {name: [value] for name, value in packed["inputs"].items()},
        "data_samples": [sample],
    }
    inputs = MultiModalPreprocessor(SENSORS, pad_size_divisor=1)(batch)["inputs"]
    images = {name: value[0].numpy() for name, value in inputs.items()}
    return images, sample.gt_instances.bboxes.numpy()


def bounds(mask: np.ndarray) -> np.ndarray:
    """x1, y1, x2, y2 of the true pixels' edges."""
    rows, columns = np.nonzero(mask)
    return np.array(
        [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float
    )


def check_register(frame: Frame, tolerance_px: float) -> None:
    """Every sensor shows the rectangle where its box is."""
    images, (box,) = detector_inputs(frame)
    for mask in (images["camera"][0] > 100, images["depth"][0] > 0):
        np.testing.assert_allclose(bounds(mask), box, atol=tolerance_px)
    _, row, column = np.argwhere(images["lidar"][:1] > 0)[0]
    centre = (box[:2] + box[2:]) / 2 - 0.5
    np.testing.assert_allclose([column, row], centre, atol=tolerance_px)
    assert images["lidar"][0].max() == pytest.approx(12.5)  # metres do not change
    assert images["depth"].max() == 12.5
    assert images["lidar"][1].max() == pytest.approx(0.5)


def test_flip_by_hand():
    """x1 = 10, x2 = 21 of 64 columns become 64 - 21 = 43 and 64 - 10 = 54."""
    flip = RandomAffineFrame(flip_prob=1.0)
    results = {"frame": marked(10, 5, 21, 14), "rng": np.random.default_rng(0)}
    frame = flip(results)["frame"]
    assert frame.objects.boxes_px.tolist() == [[43, 5, 54, 14]]
    images, _ = detector_inputs(frame)
    assert bounds(images["camera"][0] > 0).tolist() == [43, 5, 54, 14]
    assert bounds(images["depth"][0] > 0).tolist() == [43, 5, 54, 14]
    assert np.argwhere(images["lidar"][0]).tolist() == [[9, 48]]
    points = results["frame"].sensors["lidar"]
    assert frame.sensors["lidar"] is points  # points never move
    assert frame.calibration.fx_px == 40
    assert frame.calibration.baseline_m == pytest.approx(0.5)


def test_resize_by_hand():
    frame = ResizeFrame(size=(128, 64))({"frame": marked(10, 5, 21, 14)})["frame"]
    assert frame.objects.boxes_px.tolist() == [[20, 10, 42, 28]]
    assert frame.calibration.fx_px == 80
    assert frame.image_size == (64, 128)
    check_register(frame, 1.0)


@given(
    x=st.integers(4, 20),
    y=st.integers(3, 8),
    width=st.integers(9, 25),
    height=st.integers(9, 15),
    size=st.tuples(st.integers(16, 80), st.integers(32, 160)),
)
def test_resize_keeps_the_register(x, y, width, height, size):
    frame = marked(x, y, x + width, y + height)
    resized = ResizeFrame(size=(size[1], size[0]))({"frame": frame})["frame"]
    check_register(resized, 1.01)
    expected = frame.objects.boxes_px * np.tile([size[1] / 64, size[0] / 32], 2)
    np.testing.assert_allclose(resized.objects.boxes_px, expected)


@given(seed=st.integers(0, 2**32 - 1), flip=st.sampled_from([0.0, 1.0]))
def test_affine_keeps_the_register(seed, flip):
    move = RandomAffineFrame(scale=(0.7, 1.3), shift=0.08, flip_prob=flip)
    results = {"frame": marked(24, 12, 39, 21), "rng": np.random.default_rng(seed)}
    check_register(move(results)["frame"], 1.01)


def test_boxes_follow_a_known_zoom_and_shift():
    transform = np.array([[2.0, 0, 3], [0, 2, -5], [0, 0, 1]])
    # Edges are half a pixel outside of centres: 2 (x - 0.5) + 3 + 0.5 = 2 x + 2.5.
    boxes_px = warp_boxes(np.array([[10.0, 5, 21, 14]]), transform, (32, 40))
    assert boxes_px.tolist() == [[22.5, 4.5, 40, 22.5]]  # clipped to 40 columns


def test_no_boxes():
    assert warp_boxes(np.zeros((0, 4)), np.eye(3), SIZE).shape == (0, 4)
    frame = marked(24, 12, 39, 21)
    frame = replace(frame, objects=frame.objects.select(np.zeros(1, bool)))
    _, boxes = detector_inputs(frame)
    assert boxes.shape == (0, 4)


def test_depth_is_never_mixed():
    frame = make_frame(3)
    moved = warp_frame(frame, resize_transform(SIZE, (23, 51)), (23, 51))
    values = set(np.unique(moved.sensors["depth"]))
    assert values <= set(np.unique(frame.sensors["depth"]))


def test_shrinking_averages_areas():
    """A fine chequerboard becomes grey, not a moiré of black and white."""
    frame = make_frame()
    board = (np.indices(SIZE).sum(axis=0) % 2 * 255).astype(np.uint8)
    sensors = dict(frame.sensors) | {"camera": np.repeat(board[..., None], 3, axis=2)}
    frame = replace(frame, sensors=sensors)
    shrunk = ResizeFrame(size=(16, 8))({"frame": frame})["frame"].sensors["camera"]
    assert shrunk.shape == (8, 16, 3)
    assert shrunk.min() >= 120 and shrunk.max() <= 135


def test_shrinking_agrees_with_area_interpolation():
    image = make_frame().sensors["camera"]
    shrunk = ResizeFrame(size=(32, 16))({"frame": make_frame()})["frame"]
    expected = cv2.resize(image, (32, 16), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(shrunk.sensors["camera"], expected)


def test_frames_are_not_changed():
    frame, same = make_frame(), make_frame()
    rng = np.random.default_rng(0)
    results = {"frame": frame, "rng": rng}
    for transform in (ResizeFrame(size=(32, 16)), RandomAffineFrame(), RandomColour()):
        results = transform(results)
    for name, value in same.sensors.items():
        np.testing.assert_array_equal(frame.sensors[name], value)
    np.testing.assert_array_equal(frame.objects.boxes_px, same.objects.boxes_px)


def test_colour_touches_one_sensor_and_stays_in_range():
    frame = make_frame()
    strong = RandomColour(brightness=200, contrast=0.9, saturation=0.9)
    moved = strong({"frame": frame, "rng": np.random.default_rng(1)})["frame"]
    image = moved.sensors["camera"]
    assert image.dtype == np.uint8 and image.shape == (*SIZE, 3)
    assert (image != frame.sensors["camera"]).any()
    assert moved.sensors["lidar"] is frame.sensors["lidar"]
    assert moved.sensors["depth"] is frame.sensors["depth"]


def test_colour_without_strength_changes_nothing():
    frame = make_frame()
    still = RandomColour(brightness=0, contrast=0, saturation=0)
    moved = still({"frame": frame, "rng": np.random.default_rng(1)})["frame"]
    np.testing.assert_array_equal(moved.sensors["camera"], frame.sensors["camera"])


def test_colour_of_an_absent_sensor_draws_the_same_numbers():
    """What follows is the same whether a frame has a camera or not."""
    frame = make_frame()
    blind = replace(frame, sensors={"depth": frame.sensors["depth"]})
    after = []
    for one in (frame, blind):
        rng = np.random.default_rng(1)
        RandomColour()({"frame": one, "rng": rng})
        after.append(rng.random())
    assert after[0] == after[1]


def test_packing_leaves_out_what_cannot_be_seen():
    names = ["Car", "Van", "Tree", "Car", "Car", "Car"]
    boxes_px = np.array([[1.0, 1, 9, 9]] * 5 + [[1, 1, 2.5, 9]])
    objects = replace(
        Objects.from_boxes(np.array(names, object), boxes_px),
        occlusion=np.array([0, 2, 0, 3, 0, 0]),
        truncation=np.array([0.0, 0, 0, 0, 0.9, 0]),
    )
    frame = replace(make_frame(), objects=objects)
    packed = PackFrame()(
        {
            "frame": frame,
            "objects": "the original labels",
            "original_size": (64, 128),
            "class_index": {"CAR": 0, "Van": 0},
        }
    )
    sample = packed["data_samples"]
    assert sample.gt_instances.labels.tolist() == [0, 0]
    assert sample.gt_instances.bboxes.dtype == torch.float32
    assert sample.objects == "the original labels"
    assert sample.scale_factor == (0.5, 0.5)
    assert sample.img_shape == (32, 64) and sample.ori_shape == (64, 128)
    assert sample.fx_baseline_px_m == pytest.approx(20.0)
    shapes = {name: tuple(value.shape) for name, value in packed["inputs"].items()}
    assert shapes == {"camera": (3, 32, 64), "lidar": (512, 4), "depth": (1, 32, 64)}


def test_frame_without_labels_has_no_instances():
    frame = replace(make_frame(), objects=None)
    results = {"frame": frame, "objects": None, "original_size": SIZE}
    sample = PackFrame()(results | {"class_index": {}})["data_samples"]
    assert "gt_instances" not in sample


def test_wrong_zoom_and_registration():
    with pytest.raises(ValueError, match="positive zooms, got"):
        RandomAffineFrame(scale=(0.0, 1.0))
    for name in ("ResizeFrame", "RandomAffineFrame", "RandomColour", "PackFrame"):
        assert TRANSFORMS.get(name) is not None


# A car of 1.5 x 2 x 4 m, its bottom 12 m ahead, 1 m left and 1.25 m below the camera.
CAR = np.array([[-1.0, 1.25, 12.0, 1.5, 2.0, 4.0, 0.5]])
ALPHA = 0.5 - np.arctan2(-1, 12)


def with_car(**changed) -> Frame:
    frame = marked(24, 12, 39, 21)
    objects = Objects.from_boxes(
        frame.objects.names, frame.objects.boxes_px, boxes_3d=CAR
    )
    unset = {"truncation": np.zeros(1), "occlusion": np.zeros(1, int)}
    return replace(frame, objects=replace(objects, **unset | changed))


def target_of(frame: Frame) -> np.ndarray:
    return metric_targets(frame.objects, frame.calibration)[0]


def test_targets_in_metres_by_hand():
    """The centre is 0.5 m below the camera: P of 40 px focal length says where."""
    u, v, w = CALIBRATION.image_P_cam @ np.array([-1, 0.5, 12, 1])
    expected = [u / w + 0.5, v / w + 0.5, 12, 1.5, 2, 4, ALPHA]
    np.testing.assert_allclose(target_of(with_car()), expected)


def test_targets_of_a_mirrored_image():
    flip = RandomAffineFrame(flip_prob=1.0)
    results = {"frame": with_car(), "rng": np.random.default_rng(0)}
    plain, mirrored = target_of(with_car()), target_of(flip(results)["frame"])
    assert mirrored[0] == pytest.approx(64 - plain[0])  # both from the image's edge
    assert mirrored[6] == pytest.approx(np.pi - ALPHA)
    np.testing.assert_allclose(mirrored[1:6], plain[1:6])


def test_targets_of_a_zoomed_and_shifted_image():
    """The centre follows the pixels, metres and angle stay."""
    transform = np.array([[2.0, 0, 3], [0, 2, -5], [0, 0, 1]])
    plain, near = (
        target_of(frame)
        for frame in (with_car(), warp_frame(with_car(), transform, (32, 40)))
    )
    np.testing.assert_allclose(near[:2], 2 * plain[:2] + [2.5, -5.5])
    np.testing.assert_allclose(near[2:], plain[2:])


@pytest.mark.parametrize(
    "changed",
    [
        dict(location_m=np.full((1, 3), -1000.0)),
        dict(dimensions_m=np.full((1, 3), -1.0)),
        dict(rotation_y=np.full(1, -10.0)),
        dict(location_m=np.array([[0, 1, 0.2]])),  # in the camera's plane
    ],
)
def test_objects_that_are_not_known_in_space(changed):
    frame = with_car(**changed)
    assert np.isnan(target_of(frame)).all()
    packed = PackFrame(min_size_px=0)(
        {
            "frame": frame,
            "objects": frame.objects,
            "original_size": SIZE,
            "class_index": {"Car": 0},
        }
    )
    truth = packed["data_samples"].gt_instances
    assert len(truth) == 1 and truth.targets_3d.isnan().all()
