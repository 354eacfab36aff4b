"""Several sensors at once."""

import pytest
import torch
from attack_makers import SENSORS, made_batch

from perception.attacks import JointThreat, MapThreat, build_threat

CAMERA = MapThreat(name="c", sensor="camera", eps=16.0)
DEPTH = MapThreat(name="d", sensor="depth", eps=2.0)


def test_each_part_keeps_its_own_budget():
    batch = made_batch()
    joint = JointThreat(name="both", parts=(CAMERA, DEPTH))
    assert joint.sensor == "camera+depth"
    start = joint.clean(batch)
    assert start.shape == (2, 3 * 64 + 64)
    moved = joint.step(start, torch.ones_like(start), torch.tensor([9.0, 0.5]), batch)
    inputs = joint.render(joint.project(moved, batch), batch)
    assert inputs["camera"][:, 0, 0, 0].tolist() == [116, 108]
    assert inputs["depth"][:, 0, 0, 0].tolist() == [22, 21]
    assert (inputs["camera"][:, :, 6:] == 0).all()


def test_the_joint_seed_counts():
    batch = made_batch()
    draws = [
        JointThreat(name="both", parts=(CAMERA, DEPTH), seed=s).random(batch, 0)
        for s in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_impossible_joints():
    with pytest.raises(ValueError, match="same sensor"):
        JointThreat(name="twice", parts=(CAMERA, CAMERA))
    with pytest.raises(ValueError, match="must not be empty"):
        JointThreat(name="nothing")
    radar = MapThreat(name="r", sensor="radar")
    with pytest.raises(ValueError, match="'radar'"):
        JointThreat(name="far", parts=(CAMERA, radar)).check(SENSORS)


def test_a_part_may_not_average_over_views():
    place = {"on": "image", "size": (0.5, 0.5), "center": (0.5, 0.5)}
    sticker = {"type": "PatchThreat", "sensor": "camera", "placement": place}
    parts = [sticker, {"type": "MapThreat", "sensor": "depth", "eps": 2.0}]
    assert build_threat("both", {"type": "JointThreat", "parts": parts})
    parts[0] = sticker | {"eot": {"draws": 2}}
    with pytest.raises(ValueError, match=r"'both\[0\]' must have no eot"):
        build_threat("both", {"type": "JointThreat", "parts": parts})


def test_built_from_a_config():
    parts = [{"type": "MapThreat", "sensor": name, "eps": 1.0} for name in SENSORS]
    threat = build_threat("all", {"type": "JointThreat", "parts": parts})
    assert threat.touched == ("camera", "depth")
