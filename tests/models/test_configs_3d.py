"""Every config of boxes in metres builds, and learns from one batch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_kitti import make_frame

from perception.apis import as_config, detect
from perception.core.config import load_config
from perception.datasets.frame_dataset import FrameDataset, collate_frames
from perception.models.loading import built

CONFIGS = Path(__file__).parents[2] / "configs"
LEAVES = sorted(
    path.relative_to(CONFIGS).as_posix()
    for path in CONFIGS.rglob("*_3d*.py")
    if "_base_" not in path.parts
)


def frames(names, classes) -> list:
    """A car and a pedestrian in space, in a picture, points and a depth map."""
    made = []
    for frame in map(make_frame, range(2)):
        objects = replace(
            frame.objects,
            names=np.array([classes[0], classes[1]], dtype=object),
            location_m=np.array([[-2.0, 1.5, 10.0], [4.0, 1.5, 15.0]]),
            dimensions_m=np.array([[1.5, 1.6, 3.9], [1.7, 0.6, 0.8]]),
            rotation_y=np.array([0.1, 1.2]),
            alpha=np.array([0.3, 1.0]),
        )
        points, moved = frame.sensors["lidar"], frame.calibration.cam_T_sensor["lidar"]
        radar = np.concatenate([points[:, :3], points[:, 3:], points[:, 3:]], axis=1)
        calibration = replace(
            frame.calibration, cam_T_sensor={"lidar": moved, "radar": moved}
        )
        sensors = frame.sensors | {"radar": radar}
        kept = {name: sensors[name] for name in names}
        made.append(
            replace(frame, sensors=kept, calibration=calibration, objects=objects)
        )
    return made


def test_there_are_all_that_are_promised():
    promised = {
        *(
            f"kitti/{n}_3d{e}.py"
            for n in ("concat", "consensus")
            for e in ("", "_mini")
        ),
        *(f"nuscenes/{n}_3d.py" for n in ("concat", "consensus")),
        *("synthetic/camera_lidar_3d.py", "synthetic/odd_one_out_3d.py"),
        *("synthetic/concat_3d.py", "synthetic/consensus_3d.py"),
    }
    assert promised <= set(LEAVES)


@pytest.mark.parametrize("leaf", LEAVES)
def test_every_config_in_metres_learns(leaf):
    config = as_config(load_config(CONFIGS / leaf))
    torch.manual_seed(0)
    detector = built(config)
    dataset = config.train_dataloader.dataset
    size = (64, 32) if "r18" not in str(config.model) else (128, 64)
    frames_of = frames(detector.sensors, dataset.classes)
    resize = dict(type="ResizeFrame", size=size)
    data = FrameDataset(
        frames=frames_of,
        classes=dataset.classes,
        pipeline=[resize, *dataset.pipeline[1:]],
    )
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-3)
    packed = detector.data_preprocessor(collate_frames([data[0], data[1]]), True)
    detector.train()
    losses = detector(packed["inputs"], packed["data_samples"], "loss")
    assert any("loss_depth" in name for name in losses)
    total, _ = detector.parse_losses(losses)
    total.backward()
    optimizer.step()
    assert torch.isfinite(total)
    assert detector.bbox_head.conv_metric.weight.grad.abs().sum() > 0
    data.pipeline = type(data.pipeline)([resize, dict(type="PackFrame")])
    detector.dataset_meta = {"classes": dataset.classes}
    detector.bbox_head.test_cfg["score_thr"] = 0.0
    for sample in detect(detector.eval(), data, [0]):
        found = sample.pred_instances
        assert found.boxes_3d.shape == (len(found.bboxes), 7) and len(found.bboxes)


def test_sizes_follow_the_classes():
    config = load_config(
        CONFIGS / "nuscenes/consensus_3d.py", {"classes": ["pedestrian", "car"]}
    )
    for head in (config.model.bbox_head, config.model.branch_head):
        assert head.mean_sizes_m == [[1.77, 0.66, 0.73], [1.73, 1.96, 4.62]]
    synthetic = load_config(CONFIGS / "nuscenes/synthetic_concat_3d.py")
    assert [row[2] for row in synthetic.model.bbox_head.mean_sizes_m] == [
        4.62,
        0.73,
        1.7,
    ]
    metric = synthetic.test_evaluator[-1]
    assert (metric.root, metric.split) == ("data/nuscenes_synthetic", "val")
    assert metric.sensors == ("camera", "lidar", "radar")
