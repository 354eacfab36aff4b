"""Projected gradient ascent, on a bowl with a known top and on the tiny detector."""

import pytest
import torch
from attack_makers import Bowl, made_batch

from perception.attacks import PGD, MapThreat, RandomNoise


def threat(**fields) -> MapThreat:
    return MapThreat(
        **({"name": "t", "sensor": "camera", "eps": 16.0, "steps": 5} | fields)
    )


def test_reaches_the_edge_of_the_box():
    attack = PGD(threat(steps=10))
    found = attack.run(Bowl(made_batch(), top=200.0))
    torch.testing.assert_close(found[:, :, :6], torch.full((2, 3, 6, 8), 116.0))
    assert (found[:, :, 6:] == 0).all()


def test_reaches_the_edge_of_the_ball():
    batch = made_batch()
    found = PGD(threat(norm="l2", eps=12.0, steps=10)).run(Bowl(batch, top=200.0))
    change = found - batch.inputs["camera"]
    assert change.flatten(1).norm(dim=1).tolist() == pytest.approx([12, 12], rel=1e-4)


def test_one_evaluation_per_step_and_one_at_the_end():
    bowl = Bowl(made_batch(), top=200.0)
    PGD(threat(steps=7, restarts=3)).run(bowl)
    assert bowl.calls == 8


def test_the_best_iterate_counts():
    bowl = Bowl(made_batch(), top=101.0)
    attack = PGD(threat(steps=3), step_fraction=1.0, momentum=0.0, random_start=False)
    found = attack.run(bowl)
    assert (found[:, :, :6] == 100).all(), "full steps overshoot"


@pytest.mark.parametrize("sensor", ["camera", "lidar", "depth"])
def test_beats_noise_and_touches_one_sensor(tiny_target, tiny_batch, sensor):
    t = threat(sensor=sensor, eps={"camera": 16.0}.get(sensor, 3.0))
    result = PGD(t)(tiny_target, tiny_batch)
    noise = RandomNoise(t)(tiny_target, tiny_batch)
    assert result.detection_loss.mean() > noise.detection_loss.mean()
    for name, clean in tiny_batch.inputs.items():
        assert torch.equal(result.inputs[name], clean) == (name != sensor)


def test_same_seed_same_bits_and_restarts_help(tiny_target, tiny_batch):
    first, second, more = (
        PGD(threat(steps=3, restarts=r))(tiny_target, tiny_batch) for r in (1, 1, 2)
    )
    assert torch.equal(first.variable, second.variable)
    assert (more.value >= first.value - 1e-4).all()
