"""Attacks without gradients."""

from copy import copy

import pytest
import torch
from attack_makers import Bowl, made_batch

from perception.attacks import (
    PGD,
    JointThreat,
    MapThreat,
    RandomNoise,
    SquareAttack,
    TransferAttack,
    build_attack,
    with_sources,
)
from perception.attacks.target import frozen
from perception.attacks.victim import Victim
from perception.targets import DetectorTarget


def threat(**fields) -> MapThreat:
    return MapThreat(
        **({"name": "t", "sensor": "camera", "eps": 16.0, "steps": 30} | fields)
    )


def test_squares_climb_at_extreme_values_only():
    bowl = Bowl(made_batch(), top=200.0)
    values = []
    for steps in (1, 10, 40):
        found = SquareAttack(threat(steps=steps)).run(bowl)
        assert set(found[:, :, :6].unique().tolist()) <= {84.0, 116.0}
        assert (found[:, :, 6:] == 0).all()
        values.append(float(bowl.height({"camera": found}).mean()))
    assert values[0] < values[1] < values[2]


def test_squares_ask_as_often_as_agreed():
    bowl = Bowl(made_batch(), top=200.0)
    SquareAttack(threat(steps=12, restarts=2)).run(bowl)
    assert bowl.calls == 12


def test_squares_keep_an_l2_budget():
    batch = made_batch()
    found = SquareAttack(threat(norm="l2", eps=20.0)).run(Bowl(batch, top=200.0))
    change = (found - batch.inputs["camera"]).flatten(1).norm(dim=1)
    assert (change <= 20.001).all()


def test_squares_are_the_same_in_any_batch():
    attack = SquareAttack(threat())
    together = attack.run(Bowl(made_batch(3), top=110.0))
    alone = attack.run(Bowl(made_batch(1, first_id=2), top=110.0))
    assert torch.equal(together[2:], alone)


def test_squares_need_a_map():
    joint = JointThreat(name="j", parts=(threat(),))
    with pytest.raises(ValueError, match="need a MapThreat"):
        SquareAttack(joint)
    with pytest.raises(ValueError, match="first_area"):
        SquareAttack(threat(), first_area=0.0)


def test_more_noise_is_no_weaker():
    bowl = Bowl(made_batch(), top=105.0)
    few, many = (RandomNoise(threat(steps=n)).run(bowl) for n in (1, 20))
    gain = [bowl.height({"camera": found}) for found in (few, many)]
    assert (gain[1] >= gain[0]).all() and (gain[1] > gain[0]).any()


def test_transfer_crafts_on_the_source_alone(tiny_target, plain_target, tiny_batch):
    t = threat(steps=3)
    transfer = TransferAttack(t, source=plain_target)(tiny_target, tiny_batch)
    direct = PGD(t)(plain_target, tiny_batch)
    assert torch.equal(transfer.inputs["camera"], direct.inputs["camera"])
    white = PGD(t)(tiny_target, tiny_batch)
    assert transfer.detection_loss.mean() <= white.detection_loss.mean()


def test_transfer_keeps_to_the_budget_of_a_copy(plain_target, tiny_batch):
    attack = TransferAttack(threat(steps=1), source=plain_target)
    weaker = copy(attack)
    weaker.threat = threat(eps=4.0, steps=1)
    for one, eps in ((weaker, 4), (attack, 16)):
        with frozen(plain_target):
            found = one.run(Victim(plain_target, tiny_batch, ("camera",)))
        change = (found - tiny_batch.inputs["camera"]).abs().max()
        assert change == pytest.approx(eps, rel=0.01)


def test_source_of_a_config_is_loaded_when_needed(plain_target, tiny_data):
    calls = []

    def load(config: str, checkpoint: str) -> object:
        calls.append((config, checkpoint))
        return plain_target

    config = {
        "type": "TransferAttack",
        "threat": {"type": "MapThreat", "sensor": "depth", "eps": 1.0, "steps": 1},
        "source": {"config": "concat.py", "checkpoint": "best.pth"},
    }
    attack = build_attack("borrowed", with_sources(config, load))
    assert calls == []
    batch = plain_target.batch(tiny_data)
    for _ in range(2):
        attack(plain_target, batch)
    assert calls == [("concat.py", "best.pth")]
    assert with_sources({"type": "PGD"}, load) == {"type": "PGD"}


def test_a_source_without_the_sensor_is_refused(tiny_target, plain_target, tiny_batch):
    class Blind(DetectorTarget):
        @property
        def sensors(self):
            return {}

    with pytest.raises(ValueError, match="attacks 'camera'"):
        TransferAttack(threat(), source=Blind(plain_target.detector))(
            tiny_target, tiny_batch
        )
