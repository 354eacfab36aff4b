"""Classifiers on the detectors' own necks, aggregator, losses, target and attacks."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS

from perception.attacks import Goal, build_attack
from perception.core.config import as_config, load_config
from perception.core.parts import LeaveOut
from perception.datasets.loading import build_dataset, build_loader
from perception.models import LinearHead
from perception.targets import DetectorTarget

ACTION = Path(__file__).resolve().parents[2] / "configs/action/made_up.py"
EXPERTS = dict(type="OddOneOutFusion", gate=None)
NECKS = {
    "concat": dict(fusion=dict(type="ConcatFusion")),
    "mean": dict(fusion=dict(type="MeanFusion")),
    "lel": dict(fusion=dict(type="LatentEnsembleFusion")),
    "odd_one_out": dict(fusion=dict(type="OddOneOutFusion")),
    "consensus": dict(fusion=EXPERTS, aggregator=dict(type="ConsensusAggregator")),
    "median": dict(fusion=EXPERTS, aggregator=dict(type="MedianAggregator")),
}
EPS = dict(depth=250.0, accel=1.0, gyro=125.0)


@pytest.fixture(scope="module")
def config():
    return as_config(load_config(ACTION))


@pytest.fixture(scope="module")
def data(config):
    return next(iter(build_loader(build_dataset(config, "test"), range(4))))


def built(config, name):
    model = config.model.to_dict()
    sizes = dict(in_channels=64, out_channels=64)
    torch.manual_seed(0)
    found = MODELS.build(
        model | NECKS[name] | dict(fusion=NECKS[name]["fusion"] | sizes)
    )
    found.dataset_meta = {"classes": config.classes}
    return found.eval()


def test_the_head_gives_logarithms_of_probabilities():
    head = LinearHead(num_classes=3, in_channels=2)
    ((said,),) = head((torch.rand(5, 2, 1, 1),))
    assert said.shape == (5, 3, 1, 1)
    assert torch.allclose(said.exp().sum(dim=1), torch.ones(5, 1, 1))


@pytest.mark.parametrize("name", NECKS)
def test_every_neck_and_aggregator(config, data, name):
    classifier = built(config, name)
    target = DetectorTarget(classifier)
    batch = target.batch(data)
    # Each sensor's input has a size of its own, nothing is padded.
    shapes = {key: tuple(value.shape[1:]) for key, value in batch.inputs.items()}
    assert shapes == dict(depth=(1, 120, 20), accel=(3, 1, 64), gyro=(3, 1, 64))
    predictions = target.predict(batch.inputs, batch.samples)
    for one in predictions:
        assert len(one.detections) == 1
        assert one.detections.names[0] in config.classes
        assert (one.gate is None) == (not classifier.has_gate)
    with target.frozen():
        each = target.losses(batch.inputs, batch.samples)
    assert each.shape == (4,)
    losses = classifier.loss(batch.inputs, batch.samples)
    assert torch.allclose(each.mean(), losses["loss_cls"], atol=1e-6)
    for sensor, eps in EPS.items():
        threat = dict(type="MapThreat", sensor=sensor, eps=eps, steps=3, goal="margin")
        result = build_attack(sensor, dict(type="PGD", threat=threat))(target, batch)
        change = (result.inputs[sensor] - batch.inputs[sensor]).abs()
        assert 0.5 * eps < change.max() <= eps * (1 + 1e-5)
        assert result.value.shape == (4,)


def test_one_sensor_stays_within_the_bounds(config, data):
    classifier = built(config, "consensus")
    batch = DetectorTarget(classifier).batch(data)
    with torch.no_grad(), classifier.for_losses():
        features = classifier.extract_feat(batch.inputs)
        ((low,),), ((high,),) = classifier.fuse(features).bounds("accel")
        wild = 8 * torch.randn_like(batch.inputs["accel"])
        features["accel"] = classifier.encode("accel", wild)
        ((said,),) = classifier.fuse(features).outputs
    assert (said >= low - 1e-5).all() and (said <= high + 1e-5).all()


def test_the_sensor_left_out_has_no_influence(config, data):
    target = DetectorTarget(built(config, "odd_one_out"))
    batch = target.batch(data)
    other = dict(batch.inputs, gyro=-batch.inputs["gyro"])
    one, two = (
        target.predict(inputs, batch.samples, leave_out=LeaveOut("gyro"))
        for inputs in (batch.inputs, other)
    )
    for first, second in zip(one, two, strict=True):
        assert first.detections.scores[0] == second.detections.scores[0]


def test_the_margin_is_of_the_best_wrong_class(config, data):
    target = DetectorTarget(built(config, "concat"))
    batch = target.batch(data).select([2])  # "up", the third class
    with target.frozen():
        features = {name: target.encode(name, batch.inputs[name]) for name in EPS}
        response = target.respond(features, batch.samples)
        logits = response.scores().logits[0, 0]
        value = Goal.parse("margin").objective.value(response, None, batch.samples)
    assert value[0] == logits[[0, 1, 3]].max() - logits[2]
