"""nuScenes' own program on results of ours: the ground truth is perfect, and why."""

import json

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from perception.core.geometry import inverse_transform
from perception.core.structures import DataError, Objects
from perception.datasets.nuscenes.boxes import camera_objects
from perception.datasets.nuscenes.points import sensor_to_global
from perception.datasets.nuscenes.reader import NuScenesFrames
from perception.datasets.synthetic.nuscenes.writer import generate_nuscenes
from perception.evaluation.detection.nuscenes_metric import NuScenesMetric
from perception.evaluation.detection.nuscenes_submission import (
    SampleBoxes,
    in_global,
    merged,
)

pytest.importorskip("nuscenes.nuscenes", reason="nuscenes-devkit is missing")

VERSION, SPLIT = "v1.0-mini", "mini_val"
CLASSES = ("car", "pedestrian", "bicycle")
CAMERAS = [
    f"CAM_{side}{end}" for side in ("FRONT", "BACK") for end in ("", "_LEFT", "_RIGHT")
]


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    root = tmp_path_factory.mktemp("nuscenes") / "set"
    generate_nuscenes(
        root, scenes=0, val_scenes=1, samples=2, size="128x72", seed=3,
        version=VERSION, progress=False,
    )  # fmt: skip
    return NuScenesFrames(root, SPLIT, version=VERSION, cameras=CAMERAS)


def true_samples(frames: NuScenesFrames, *, points: int = 1) -> list[dict]:
    """Each picture's objects as its detections; those without points are left out."""
    found = []
    for place in frames.places:
        scene = frames.scenes[place.scene]
        sample = scene["samples"][place.number]
        reading = sample["data"][place.camera][0]
        image_P_cam = np.zeros((3, 4))
        image_P_cam[:, :3] = scene["calibrations"][reading["calibration"]]["intrinsic"]
        objects = camera_objects(
            [box for box in sample["objects"] if box["points"] >= points],
            frames.names,
            inverse_transform(sensor_to_global(scene, reading)),
            image_P_cam,
            tuple(reading["size"]),
        )
        count = len(objects)
        space = objects.boxes_3d if count else np.zeros((0, 7))
        instances = InstanceData(
            bboxes=torch.tensor(objects.boxes_px).reshape(-1, 4),
            scores=torch.full((count,), 0.9),
            labels=torch.tensor([CLASSES.index(n) for n in objects.names]).long(),
            boxes_3d=torch.tensor(space),
        )
        found.append({"frame_id": place.frame_id, "pred_instances": instances})
    return found


def scored(frames, samples, **more) -> dict[str, float]:
    metric = NuScenesMetric(root=str(frames.root), version=VERSION, split=SPLIT, **more)
    metric.dataset_meta = {"classes": CLASSES}
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def test_the_ground_truth_is_perfect_but_for_what_is_not_measured(frames, tmp_path):
    file = tmp_path / "results.json"
    samples = true_samples(frames)
    found = scored(frames, samples, dump_file=str(file), sensors=("camera", "lidar"))
    assert found["nuscenes/mAP"] == pytest.approx(100)
    for name in ("mATE", "mASE", "mAOE"):
        assert found[f"nuscenes/{name}"] == pytest.approx(0, abs=2e-3)
    # Standing is what is said of all: drivers are faster, and have other attributes.
    speed, attribute = found["nuscenes/mAVE"], found["nuscenes/mAAE"]
    assert speed > 0.5 and 0 < attribute <= 1
    # mAP counts for five, each error for one.
    rest = max(0.0, 1 - speed) + max(0.0, 1 - attribute)
    assert found["nuscenes/NDS"] == pytest.approx(10 * (5 + 3 + rest), abs=0.1)
    content = json.loads(file.read_text())
    assert content["meta"] == {
        **{"use_camera": True, "use_lidar": True, "use_radar": False},
        **{"use_map": False, "use_external": False},
    }
    said = sum(len(one["pred_instances"]) for one in samples)
    written = [len(boxes) for boxes in content["results"].values()]
    assert len(written) == 2 and sum(written) < said  # seams are seen twice


def test_attributes_and_errors_count(frames):
    """In this drive most move: who says so earns of the attributes' tenth."""
    moving = {
        "car": "vehicle.moving",
        "pedestrian": "pedestrian.moving",
        "bicycle": "cycle.with_rider",
    }
    samples = true_samples(frames)
    default = scored(frames, samples)
    said = scored(frames, samples, attributes=moving)
    gain = default["nuscenes/mAAE"] - said["nuscenes/mAAE"]
    better = said["nuscenes/NDS"] - default["nuscenes/NDS"]
    assert gain > 0.3 and better == pytest.approx(10 * gain, abs=1e-6)
    for one in samples:
        one["pred_instances"].boxes_3d[:, 2] *= 1.1  # a tenth too far
    found = scored(frames, samples)
    assert 0.3 < found["nuscenes/mATE"] <= 2.0
    assert found["nuscenes/mAP"] < 100


def test_pictures_that_are_missing_count_as_empty(frames):
    half = true_samples(frames)[::2]
    assert scored(frames, half)["nuscenes/mAP"] < 90


def test_what_cannot_be_scored_is_named(frames):
    flat = true_samples(frames)
    for one in flat:
        del one["pred_instances"].boxes_3d
    with pytest.raises(DataError, match="boxes in metres"):
        scored(frames, flat)
    with pytest.raises(ValueError, match="a named split"):
        NuScenesMetric(root="r", version=VERSION, split=["scene-0061"])


def boxes(*rows) -> SampleBoxes:
    """Rows of class, x, y, length, score, camera."""
    name, x, y, length, score, camera = zip(*rows, strict=True)
    ones = np.ones(len(rows))
    return SampleBoxes(
        np.array(name, dtype=object),
        np.stack([x, y, 0 * ones], axis=1),
        np.stack([ones, np.array(length), ones], axis=1),
        0 * ones,
        np.array(score),
        np.array(camera),
    )


def test_seams_by_hand():
    kept = merged(
        [
            boxes(("car", 0, 0, 4, 0.5, 0), ("car", 9, 0, 4, 0.9, 0)),
            boxes(
                ("car", 1.9, 0, 4, 0.8, 1),  # hides the first: 1.9 m < 4 m / 2
                ("car", 9, 2.1, 4, 0.7, 1),  # beside the second
                ("pedestrian", 9, 0, 0.6, 0.6, 1),  # of another class
                ("car", 9.5, 2.1, 4, 0.4, 1),  # of the same camera as its neighbour
            ),
        ]
    )
    assert kept.scores.tolist() == [0.9, 0.8, 0.7, 0.6, 0.4]


def test_from_the_camera_to_the_world_by_hand():
    """A camera at (10, 20, 1.5) that looks north along the global y axis."""
    global_T_cam = np.eye(4)
    global_T_cam[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    global_T_cam[:3, 3] = [10, 20, 1.5]
    found = Objects.from_boxes(
        np.array(["car", "car"], dtype=object),
        np.zeros((2, 4)),
        np.array([0.9, 0.8]),
        np.array([[2, 1.5, 8, 1.6, 2, 4, 0], [2, 1.5, 8, 1.6, 2, 4, -np.pi / 2]]),
    )
    one = in_global(found, global_T_cam, 0)
    np.testing.assert_allclose(one.centres_m, [[12, 28, 0.8]] * 2, atol=1e-12)
    np.testing.assert_allclose(one.sizes_m[0], [2, 4, 1.6])
    # Along the camera's x is east; along its view is north.
    np.testing.assert_allclose(one.yaws, [0, np.pi / 2], atol=1e-12)
