"""The search that knows how far a clamp rewards it."""

from typing import Any

import pytest
import torch
from attack_makers import made_batch
from tiny_target import detector_config, trained_detector

from perception.attacks import PGD, IntervalPGD, MapThreat, build_attack
from perception.attacks.searches.interval import _until
from perception.attacks.target import Reach, Response, Scores
from perception.core.parts import BranchPrediction
from perception.targets import DetectorTarget

CAMERA = MapThreat(name="camera", sensor="camera", eps=16.0, steps=5)


def test_a_number_is_pushed_until_it_lies_beyond_what_is_reached():
    number = torch.tensor([0.0, 2.0, 0.0, -2.0, 5.0], requires_grad=True)
    slope = torch.tensor([3.0, 3.0, -3.0, -3.0, 2.0])
    inf = torch.inf
    reach = Reach(
        torch.tensor([-1.0, -1.0, -1.0, -1.0, -inf]),
        torch.tensor([1.0, 1.0, 1.0, 1.0, inf]),
    )
    value = _until(number, slope, reach)
    assert value.tolist() == [0.0, 3.0, 0.0, 3.0, 10.0]
    value.sum().backward()
    assert number.grad.tolist() == [3.0, 0.0, -3.0, 0.0, 2.0]


class Clamped(Response):
    """The mean brightness of the camera, held within [100, 101]; high is bad."""

    classes = ("Car",)
    parts = (BranchPrediction("camera"),)

    def __init__(self, camera: torch.Tensor, final: torch.Tensor | None = None) -> None:
        self.own = camera.mean(dim=(1, 2, 3))
        self.final = self.own.clamp(100.0, 101.0) if final is None else final

    def losses(self, part: Any = None) -> torch.Tensor:
        return self.final if part is None else self.own

    def scores(self, part: Any = None) -> Scores:
        raise NotImplementedError

    def numbers(self, part: Any = None) -> list[torch.Tensor]:
        return [self.final if part is None else self.own]

    def reach(self, sensor: str) -> list[Reach]:
        assert sensor == "camera"
        ends = torch.full_like(self.own, 100.0), torch.full_like(self.own, 101.0)
        return [Reach(*ends)]

    def with_numbers(self, numbers: Any) -> Response:
        return Clamped(torch.zeros(1, 1, 1, 1), numbers[0])


class Target:
    """Starts below the clamp: 90 grey levels, where its gradient is nothing."""

    def __init__(self, batch: Any) -> None:
        self.sensors, self.classes = batch.sensors, ("Car",)
        self.can_leave_out = False

    def predict(self, inputs: Any, frames: Any) -> list:
        raise NotImplementedError

    def encode(self, sensor: str, x: torch.Tensor) -> tuple:
        return (x,)

    def respond(self, features: Any, frames: Any, leave_out: Any = None) -> Response:
        return Clamped(features["camera"][0])


def test_it_sees_through_a_clamp_where_pgd_has_no_gradient():
    batch = made_batch(size=(8, 8))
    batch.inputs["camera"].fill_(90.0)
    plain = PGD(CAMERA, step_fraction=0.2, random_start=False)(Target(batch), batch)
    assert plain.detection_loss.tolist() == [100.0, 100.0]
    knowing = IntervalPGD(CAMERA, step_fraction=0.2)(Target(batch), batch)
    assert knowing.detection_loss.tolist() == [101.0, 101.0]
    # Nothing beyond the clamp is rewarded, so no step is wasted there.
    assert (knowing.inputs["camera"] - 90.0).abs().max() <= 16.0


def test_on_plain_fusion_it_is_pgd(plain_target, tiny_batch):
    ours = IntervalPGD(CAMERA, step_fraction=0.1)(plain_target, tiny_batch)
    plain = PGD(CAMERA, step_fraction=0.1, random_start=False)(plain_target, tiny_batch)
    assert torch.equal(ours.inputs["camera"], plain.inputs["camera"])


@pytest.fixture(scope="module")
def consensus() -> DetectorTarget:
    config = detector_config("OddOneOutFusion")
    config["fusion"] |= {"gate": None, "loss_weight": 0.0}
    config["aggregator"] = {"type": "ConsensusAggregator", "gate": {}}
    return DetectorTarget(trained_detector(config, steps=30))


@pytest.mark.parametrize("sensor, eps", [("camera", 16.0)])
def test_it_finds_more_than_pgd_on_consensus(consensus, tiny_data, sensor, eps):
    batch = consensus.batch(tiny_data)
    threat = MapThreat(name=sensor, sensor=sensor, eps=eps, steps=10)
    ours = IntervalPGD(threat, step_fraction=0.1)(consensus, batch)
    plain = PGD(threat, step_fraction=0.1, random_start=False)(consensus, batch)
    assert ours.detection_loss.mean() > plain.detection_loss.mean()
    again = IntervalPGD(threat, step_fraction=0.1)(consensus, batch)
    assert torch.equal(ours.inputs[sensor], again.inputs[sensor])
    alone = IntervalPGD(threat, step_fraction=0.1)(consensus, batch.select([2]))
    assert torch.allclose(alone.inputs[sensor], ours.inputs[sensor][2:3], atol=1e-2)


def test_several_sensors_are_bounded_by_nothing(consensus, tiny_data):
    parts = [
        dict(type="MapThreat", sensor="camera", eps=16.0),
        dict(type="MapThreat", sensor="depth", eps=5.0),
    ]
    threat = dict(type="JointThreat", parts=parts, steps=3)
    attack = build_attack("both", dict(type="IntervalPGD", threat=threat))
    batch = consensus.batch(tiny_data)
    result = attack(consensus, batch)
    assert result.detection_loss.isfinite().all()
    assert torch.equal(result.inputs["lidar"], batch.inputs["lidar"])


def test_restarts_begin_elsewhere(consensus, tiny_data):
    batch = consensus.batch(tiny_data)
    one = MapThreat(name="depth", sensor="depth", eps=5.0, steps=3)
    two = MapThreat(name="depth", sensor="depth", eps=5.0, steps=3, restarts=2)
    few, more = (IntervalPGD(t)(consensus, batch).detection_loss for t in (one, two))
    assert (more >= few * (1 - 1e-4)).all()


@pytest.mark.parametrize(
    "threat, arguments",
    [
        (dict(goal="detection|none*1"), {}),
        (dict(goal="hide|branch"), {}),
        ({}, dict(step_fraction=0.0)),
        ({}, dict(quiet=-1.0)),
    ],
)
def test_impossible_arguments(threat, arguments):
    config = dict(type="MapThreat", sensor="camera", eps=1.0) | threat
    with pytest.raises(ValueError, match="camera"):
        build_attack("camera", dict(type="IntervalPGD", threat=config, **arguments))
