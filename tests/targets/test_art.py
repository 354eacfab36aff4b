"""Our detectors as estimators of the Adversarial Robustness Toolbox."""

import numpy as np
import pytest
import torch
from tiny_target import collated

from perception.attacks import PGD, MapThreat
from perception.evaluation.benchmarks.attack_speed import toolbox_attack
from perception.evaluation.detection.kitti_ap import evaluate, mean_ap
from perception.evaluation.detection.rules import Difficulty, rules_with_overlaps

pytest.importorskip("art", reason="adversarial-robustness-toolbox not installed")


@pytest.mark.parametrize("sensor, eps", [("camera", 16.0), ("lidar", 4.0)])
def test_its_pgd_and_ours_leave_the_same_ap(sensor, eps, tiny_target):
    """Plain PGD from the clean input, equal steps: within one point of AP."""
    batch = tiny_target.batch(collated(range(48)))
    threat = MapThreat(name="t", sensor=sensor, eps=eps, steps=5)
    ours = PGD(threat, random_start=False, momentum=0.0, step_fraction=0.25)
    attack = toolbox_attack(tiny_target, batch, ours)
    clean = batch.inputs[sensor]
    theirs = torch.from_numpy(attack.generate(clean.numpy(), np.arange(len(batch))))
    assert (theirs - clean).abs().max() <= eps + 1e-3
    mine = ours(tiny_target, batch).inputs
    left = [
        ap_of(tiny_target, batch, inputs)
        for inputs in (batch.inputs, mine, {**batch.inputs, sensor: theirs})
    ]
    assert left[1] < left[0] - 5, "both must do something"
    assert left[2] == pytest.approx(left[1], abs=1.0)
    said = attack.estimator.predict(theirs.numpy())
    assert len(said) == len(batch)


def ap_of(target, batch, inputs):
    found = [one.detections for one in target.predict(inputs, batch.samples)]
    result = evaluate(
        [sample.objects for sample in batch.samples],
        found,
        classes=rules_with_overlaps({"Car": 0.5, "Pedestrian": 0.5}),
        metrics=("2d",),
        difficulties=(Difficulty("all", 1, 3, 1.0),),
    )
    return mean_ap(result, "2d", "all")
