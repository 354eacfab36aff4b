"""The configs of nuScenes, from its files to detections, attacks and figures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS, MODELS
from nuscenes_makers import VERSION, make_nuscenes

from perception.apis import as_config, build_dataset, build_loader
from perception.core.config import load_config
from perception.evaluation.detection.scoring import scoring_of
from perception.evaluation.robustness.attack_file import AttackFile
from perception.targets import DetectorTarget
from perception.visualization.frame_figure import draw_frame

CONFIGS = Path(__file__).parents[2] / "configs"
ATTACKS = AttackFile(CONFIGS / "_base_/attacks/nuscenes.py")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    root = make_nuscenes(tmp_path_factory.mktemp("nuscenes") / "data")
    frames = {
        f"{part}_dataloader.dataset.frames.{key}": value
        for part in ("train", "val", "test")
        for key, value in {
            "version": VERSION,
            "split": "mini_train",
            "cameras": ["CAM_FRONT"],
        }.items()
    }
    path = CONFIGS / "nuscenes/odd_one_out.py"
    return as_config(load_config(path, {"data_root": str(root), **frames}))


@pytest.fixture(scope="module")
def detector(config):
    torch.manual_seed(0)
    return MODELS.build(config.model).eval()


@pytest.fixture(scope="module")
def batch(config, detector):
    data = next(iter(build_loader(build_dataset(config, "test"))))
    return DetectorTarget(detector).batch(data)


def leaf_names():
    return sorted(path.stem for path in (CONFIGS / "nuscenes").glob("*.py"))


@pytest.mark.parametrize("name", leaf_names())
def test_every_config_builds_a_detector_of_three_sensors(name):
    config = as_config(load_config(CONFIGS / f"nuscenes/{name}.py"))
    detector = MODELS.build(config.model)
    assert list(detector.sensors) == ["camera", "lidar", "radar"]
    count = 3 if "synthetic" in name else 10
    assert detector.bbox_head.num_classes == len(config.classes) == count
    expected = ("v1.0-mini", "mini_val") if "mini" in name else ("v1.0-trainval", "val")
    frames = config.test_dataloader.dataset.frames
    assert (frames.version, frames.split) == expected
    scoring = scoring_of(config, 0.3)
    assert scoring.headline == "all" and set(scoring.overlaps) == set(config.classes)


def test_training_and_detecting(config, detector):
    data = next(iter(build_loader(build_dataset(config, "train"))))
    packed = detector.data_preprocessor(data, True)
    losses = detector(packed["inputs"], packed["data_samples"], "loss")
    assert all(torch.isfinite(torch.as_tensor(v)).all() for v in losses.values())
    with torch.no_grad():
        found = detector(packed["inputs"], packed["data_samples"], "predict")
    assert len(found) == 2 and "gate" in found[0]


def test_radar_is_drawn_where_the_camera_sees_the_target(batch):
    # The target straight ahead falls between columns 160 and 161 of 320.
    radar = batch.inputs["radar"][0][:, :, 160:162].amax(dim=2)
    lit = radar[0].nonzero().squeeze(1)
    np.testing.assert_allclose(radar[0, lit], 18.3, atol=1e-3)
    np.testing.assert_allclose(radar[1, lit], 3.0, rtol=1e-4)
    # The camera is 1.5 m above the road: 2 m high, 126 px * 176 / 90 / 18.3 m per m.
    px_per_m = 126 * 176 / 90 / 18.3
    assert len(lit) == pytest.approx(2 * px_per_m, abs=1.5)
    assert lit.max() == pytest.approx(88.5 + 1.5 * px_per_m, abs=1)


@pytest.mark.parametrize(
    "name",
    [
        *("radar_pgd", "radar_shift", "radar_doppler", "radar_ghosts", "radar_drop"),
        *("radar_blackout_5", "radar_time_offset_3", "lidar_add", "camera_pgd"),
    ],
)
def test_attacks_change_their_sensor_alone(name, detector, batch):
    attack = ATTACKS.build(name, {"steps": 1}).perturbation
    result = attack(DetectorTarget(detector), batch)
    for sensor, clean in batch.inputs.items():
        same = torch.equal(result.inputs[sensor], clean)
        assert same == ((sensor,) != attack.touched), sensor


def test_suites_name_attacks_that_fit(detector):
    for suite in ATTACKS.suites:
        for name in ATTACKS.names([suite], list(detector.sensors)):
            ATTACKS.build(name).perturbation.check(detector.sensors)


def test_perfect_detections_score_100_in_every_band(config):
    dataset = build_dataset(config, "test")
    kitti, coco = (METRICS.build(one) for one in config.test_evaluator)
    samples = []
    for index in range(len(dataset)):
        sample = dataset[index]["data_samples"]
        objects = sample.objects
        label = [config.classes.index(name) for name in objects.names]
        found = {
            "bboxes": torch.tensor(objects.boxes_px),
            "labels": torch.tensor(label),
            "scores": torch.full((len(objects),), 0.9),
        }
        samples.append({**sample.metainfo, "pred_instances": found})
    kitti.dataset_meta = coco.dataset_meta = {"classes": config.classes}
    # KITTI's sampling of the recall needs 41 objects to reach 100.
    kitti.process({}, samples * 45)
    coco.process({}, samples)
    figures = kitti.evaluate(90) | coco.evaluate(2)
    # Two cars, 18.3 and 13.3 m away; the pedestrian, at 10.3 m; the cone is optional.
    assert figures["kitti/car_2d_near_R11"] == pytest.approx(100)
    assert np.isnan(figures["kitti/car_2d_middle_R11"])
    assert figures["kitti/pedestrian_2d_all_R11"] == pytest.approx(100)
    assert np.isnan(figures["kitti/traffic_cone_2d_all_R11"])
    assert figures["coco/bbox_mAP"] == pytest.approx(1.0)


def test_frames_can_be_drawn(config):
    frame = build_dataset(config, "test").frames[1]
    assert draw_frame(frame, width=400).shape[1] == 400
