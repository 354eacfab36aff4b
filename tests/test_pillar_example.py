"""The LiDAR detector of one's own that data/examples shows: attacked point by point."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from tiny_kitti import make_frame

from perception.attacks import build_attack
from perception.core.structures import Objects
from perception.corruptions import build_perturbation
from perception.datasets import transforms  # noqa: F401 (registers the pipeline)
from perception.datasets.frame_dataset import FrameDataset
from perception.evaluation.audit.checks import gradient_is_true
from perception.evaluation.audit.subject import AuditSettings, Subject, range_threats
from perception.evaluation.audit.target_checks import (
    alone_as_together,
    corruptions_change,
    leaves_inputs_alone,
    own_gradients,
    own_losses,
)
from perception.targets.loading import build_target


@pytest.fixture(scope="module")
def example():
    folder = str(Path(__file__).resolve().parents[1] / "data" / "examples")
    sys.path.insert(0, folder)
    import pillar_detector

    sys.path.remove(folder)
    return pillar_detector


def frame(number):
    """A tiny frame whose car, 10 m ahead, is also labelled in space."""
    made = make_frame(number)
    left = made.objects.boxes_px[0, 0] + 12 - 31.5
    car = replace(
        Objects.from_boxes(np.array(["Car"]), made.objects.boxes_px[:1]),
        location_m=np.array([[left * 10 / 40, 1.6, 11.0]]),
        dimensions_m=np.array([[1.6, 1.8, 4.0]]),
        rotation_y=np.array([1.5]),
        truncation=np.zeros(1),
        occlusion=np.zeros(1, dtype=np.int64),
    )
    return replace(made, objects=car)


def data_of(numbers):
    init_default_scope("mmdet")
    frames = FrameDataset(
        frames=[frame(n) for n in numbers],
        classes=("Car", "Pedestrian", "Cyclist"),
        pipeline=[{"type": "PackFrame"}],
    )
    return pseudo_collate([frames[i] for i in range(len(frames))])


@pytest.fixture(scope="module")
def target(example):
    """Taught two frames for a few steps."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = example.PillarNet(width=8)
        target = example.PillarTarget(net)
        batch = target.batch(data_of([0, 1]))
        optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
        net.train()
        for _ in range(10):
            loss = target.losses(batch.inputs, batch.samples).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        net.eval()
    return target


@pytest.fixture
def batch(target):
    return target.batch(data_of([0, 1]))


def test_gradients_reach_points_through_the_voxels(example):
    points = torch.tensor([[-2.1, 1.0, 7.33], [-2.3, 0.2, 7.9]], dtype=torch.double)
    features = torch.rand(2, 3, dtype=torch.double)
    inputs = (points.requires_grad_(), features.requires_grad_())

    def near(points, features):
        return example.soft_pillars(points, features)[:, 10:20, 30:40]

    assert torch.autograd.gradcheck(near, inputs, fast_mode=True)
    total = near(*inputs)
    assert total[:3].abs().sum() > 0


def test_what_is_taught_is_what_is_read(example, batch):
    """The map that the loss wants is read as the labelled box, there and in pixels."""
    for sample in batch.samples:
        labels, row, column, box = example.truth_of(sample.objects)
        output = torch.full((3 + 8, *example.CELLS), -9.0)
        output[labels, row, column] = 9.0
        output[3:, row, column] = box.T
        assert example.frame_loss(output, sample.objects) < 0.1
        found = example.boxes_of(output, sample)
        best, true = found.select([found.scores.argmax()]), sample.objects
        assert best.names[0] == "Car"
        assert np.allclose(best.location_m, true.location_m, atol=1e-3)
        assert np.allclose(best.dimensions_m, true.dimensions_m, atol=1e-3)
        assert np.allclose(best.rotation_y, true.rotation_y, atol=1e-3)
        # Its near face, 10 m ahead: 1.8 x 1.6 m at 40 px are about 7 x 6 pixels.
        x = 31.5 + 40 * true.location_m[0, 0] / true.location_m[0, 2]
        assert best.boxes_px[0, 0] < x < best.boxes_px[0, 2] or best.boxes_px[0, 0] == 0


def test_the_check_of_targets_believes_it(target, batch):
    batches = [batch]
    for check in (leaves_inputs_alone, alone_as_together, own_losses, own_gradients):
        assert check(target, batches).passed, check
    changed = corruptions_change(target, batches, "lidar")
    assert changed.passed, changed.explanation
    settings = AuditSettings(probe=0.002)
    subject = Subject(target, batches, score=None, source=None, settings=settings)
    (threat,) = range_threats(target.sensors, share=0.01)
    true = gradient_is_true(subject, threat)
    assert true.passed, true.figures


@pytest.mark.parametrize(
    "threat",
    [
        dict(type="PointShift", radius_m=0.3, along="free"),
        dict(type="PointShift", radius_m=0.3),
        dict(type="PointDrop", count=60),
        dict(type="PointFeatures", eps=0.3),
        dict(type="MapThreat", eps=dict(x=0.2, y=0.2)),
    ],
    ids=lambda threat: threat["type"],
)
def test_its_points_are_attacked_themselves(threat, target, batch):
    fields = threat | dict(sensor="lidar", steps=6)
    result = build_attack("t", dict(type="PGD", threat=fields))(target, batch)
    with torch.no_grad():
        clean = target.losses(batch.inputs, batch.samples)
    assert (result.detection_loss > clean).all()
    before, after = batch.inputs["lidar"], result.inputs["lidar"]
    assert after.shape == before.shape == (2, 4, before.shape[2], 1)
    shift_m = (after - before)[:, :3, :, 0].norm(dim=1)
    if threat["type"] == "PointShift":
        assert 0.2 < shift_m.max() < 0.301
    if threat["type"] == "PointDrop":
        gone = (after == 0).all(dim=1) & (before != 0).any(dim=1)
        assert 0 < gone[0].sum() <= 60


def test_points_cannot_be_added_to_a_table(target, batch):
    add = dict(type="PGD", threat=dict(type="PointAdd", sensor="lidar", count=5))
    with pytest.raises(ValueError, match="none can be added"):
        build_attack("add", add)(target, batch)


def test_fog_leaves_fewer_points_and_padding(target, batch):
    fog = dict(type="Corruption", sensor="lidar", kind="blackout", severity=3)
    foggy = build_perturbation("gone", fog)(target, batch).inputs["lidar"]
    there = (foggy != 0).any(dim=1).sum(dim=1)
    before = (batch.inputs["lidar"] != 0).any(dim=1).sum(dim=1)
    assert foggy.shape == batch.inputs["lidar"].shape and (there < before).all()


def test_built_by_name_as_the_command_line_does(example, tmp_path, monkeypatch):
    from perception.core.checkpoints import save_weights

    save_weights(tmp_path / "w.safetensors", example.PillarNet().state_dict())
    monkeypatch.setenv("PILLAR_WEIGHTS", str(tmp_path / "w.safetensors"))
    target = build_target({"type": "pillar_detector:build"})
    assert target.sensors["lidar"].is_table
