"""Objectives in metres, by hand and through detectors."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from tiny_detectors import (
    CONSENSUS,
    EXPERTS,
    FCOS,
    MEDIAN,
    make_batch,
    make_detector,
    make_sample,
)

from perception.attacks import PGD, AttackBatch, IntervalPGD, MapThreat, build_attack
from perception.attacks.goals import Goal
from perception.attacks.objectives import Displace, WrongHeading
from perception.attacks.target import DoesNotApplyError, Response, Scores
from perception.core.parts import BranchPrediction
from perception.targets import DetectorTarget

CAMERA = np.array([[100.0, 0, 32, 0], [0, 100, 16, 0], [0, 0, 1, 0]])
METRIC = dict(FCOS, type="FCOS3DHead", mean_sizes_m=((1.5, 2, 4), (1.8, 0.6, 1)))
# 3D centres at x = 1 and -2 m, z = 10 and 8 m: the second is nearer.
TARGETS = [[42.5, 16.5, 10, 1.5, 2, 4, 0.2], [7.5, 16.5, 8, 1.8, 0.6, 1, -1.0]]
BOXES = ((36, 4, 56, 28), (2, 6, 20, 26))


def sample(targets=TARGETS):
    one = make_sample(BOXES, image_P_cam=CAMERA)
    one.gt_instances = InstanceData(
        bboxes=one.gt_instances.bboxes,
        labels=one.gt_instances.labels,
        targets_3d=torch.tensor(targets),
    )
    return one


class Says(Response):
    """Three locations, two of them inside the nearest object's box."""

    classes = ("Car", "Pedestrian")

    def __init__(self, ground_m, scores) -> None:
        self.where, self.sure = torch.tensor([ground_m]), torch.tensor(scores)

    def losses(self, part=None):
        raise AssertionError

    def ground(self, part=None):
        return self.where

    def scores(self, part=None):
        centers_px = torch.tensor([[10.0, 10.0], [15.0, 20.0], [45.0, 10.0]])
        logits = (self.sure / (1 - self.sure)).log()[None, :, None]
        return Scores(logits.expand(-1, -1, 2), centers_px)


def says(scores=(0.8, 0.4, 0.9)) -> Says:
    """The first two are of the object at x = -2 m, z = 8 m, the third of the other."""
    return Says([[1.0, 8.0, 0.0], [-2.0, 12.0, 0.0], [1.0, 12.0, 0.0]], scores)


def test_metres_by_hand():
    """3 m and 4 m off, sure by 0.8 and 0.4: 0.64 and 0.16 of the weight."""
    value = Displace().value(says(), None, [sample()])
    expected = (0.64 * 3 + 0.16 * 4) / 0.8
    assert value.tolist() == pytest.approx([expected], rel=1e-4)


def test_all_objects_and_no_farther_than_counts():
    """The second is 2 m off; 3 m and 8 m count as 3 m and 4 m."""
    moved = says()
    moved.where[0, 1, 1] = 16.0
    value = Displace("all").value(moved, None, [sample()])
    expected = ((0.64 * 3 + 0.16 * 4) / 0.8 + 2.0) / 2
    assert value.tolist() == pytest.approx([expected], rel=1e-4)
    assert str(Goal.parse("displace:all")) == "displace:all"
    with pytest.raises(ValueError, match="goal 'displace:some'"):
        Goal.parse("displace:some")


@pytest.mark.parametrize("score, lost", [(0.5, 0.0), (0.7, 0.0), (0.2, np.log(0.4))])
def test_what_is_lost_is_not_moved(score, lost):
    """Twice the logarithm of the best score over 0.5, where it is lower."""
    value = Displace().value(says((score, 0.1, 0.9)), None, [sample()])
    weights = np.array([score**2, 0.01])
    off_m = weights @ [3, 4] / weights.sum()
    assert value.tolist() == pytest.approx([off_m + 2 * lost], rel=1e-3)


def test_heading_by_hand():
    """Backwards is 1, a quarter turn a half; yaw is alpha + atan2(x, z)."""
    yaw = -1.0 + np.arctan2(-2, 8), 0.2 + np.arctan2(1, 10)
    turned = says((0.9, 0.001, 0.9))
    turned.where[0, :, 2] = torch.tensor([yaw[0] + np.pi, 0.0, yaw[1] + np.pi / 2])
    value = WrongHeading().value(turned, None, [sample()])
    assert value.tolist() == pytest.approx([(1 + 0.5) / 2], rel=1e-3)


@pytest.mark.parametrize("targets", [[], [[float("nan")] * 7] * 2])
def test_without_an_object_in_space_there_is_nothing_to_move(targets):
    one = sample()
    one.gt_instances = one.gt_instances[: len(targets)]
    one.gt_instances.targets_3d = torch.tensor(targets).reshape(-1, 7)
    assert Displace().value(says(), None, [one]).tolist() == [0]


def target(head=METRIC, **arguments):
    detector = make_detector(head=head, **arguments).eval()
    detector.dataset_meta = {"classes": ("Car", "Pedestrian")}
    return DetectorTarget(detector)


def batch_of(attacked) -> AttackBatch:
    return attacked.batch(make_batch([sample()]))


def threat(goal: str, eps: float = 100.0, steps: int = 6) -> MapThreat:
    goal = Goal.parse(goal)
    return MapThreat(name="t", sensor="thermal", eps=eps, steps=steps, goal=goal)


def pgd(eps: float) -> PGD:
    return PGD(threat("displace", eps))


def test_pgd_moves_the_nearest_object():
    attacked = target()
    batch = batch_of(attacked)
    few, many = (pgd(eps)(attacked, batch).value.item() for eps in (1e-3, 100.0))
    assert many > few + 0.1


@pytest.mark.parametrize("goal", ["displace", "displace:all", "heading"])
def test_searches_that_know_the_bounds_reach_for_them(goal):
    """Through the aggregator's clamp, on the numbers and angles of boxes in metres."""
    attacked = target(
        **EXPERTS, aggregator=dict(CONSENSUS, gate={}), branch_head=METRIC
    )
    attacked.detector.aggregator.gate.mean += 20  # nobody is left out
    batch = batch_of(attacked)
    features = {n: attacked.encode(n, batch.inputs[n]) for n in attacked.sensors}
    with attacked.frozen(), torch.no_grad():
        said = attacked.respond(features, batch.samples).ground()
    # The truth is about as far away as is said, so that all are found at first.
    batch.samples[0].gt_instances.targets_3d[:, 2] = said[0, :, 1].mean()
    search = IntervalPGD(threat(goal, 0.01), quiet=0.0)
    less = search(attacked, batch).value.item()
    search = IntervalPGD(threat(goal, 200.0, 12), quiet=0.0)
    assert search(attacked, batch).value.item() > less + 1e-3


def test_of_parts_and_through_an_aggregator():
    attacked = target(**EXPERTS, aggregator=MEDIAN, branch_head=METRIC)
    batch = batch_of(attacked)
    features = {n: attacked.encode(n, batch.inputs[n]) for n in attacked.sensors}
    with attacked.frozen():
        said = attacked.respond(features, batch.samples)
        whole, alone = said.ground(), said.ground(BranchPrediction("radar"))
        again = said.with_numbers(said.numbers()).ground()
    assert whole.shape == alone.shape == (1, 160, 3)
    assert torch.equal(whole, again) and not torch.equal(whole, alone)


def test_points_can_be_moved_for_it_too():
    attacked = target()
    shift = dict(type="PointShift", sensor="radar", radius_m=1.0, steps=3)
    batch = batch_of(attacked)
    attack = build_attack(
        "t", dict(type="PGD", threat=dict(shift, goal="displace:all"))
    )
    result = attack(attacked, batch)
    assert result.value.isfinite().all()
    assert not torch.equal(result.inputs["radar"], batch.inputs["radar"])


def test_it_does_not_apply_to_image_boxes_alone():
    attacked = target(FCOS)
    with pytest.raises(DoesNotApplyError, match="nothing in metres"):
        pgd(60.0)(attacked, batch_of(attacked))


def test_it_needs_labels_in_metres():
    attacked = target()
    batch = attacked.batch(make_batch([make_sample(image_P_cam=CAMERA)]))
    with pytest.raises(DoesNotApplyError, match="no labels in metres"):
        goal = Goal.parse("displace")
        features = {n: attacked.encode(n, batch.inputs[n]) for n in attacked.sensors}
        with attacked.frozen():
            goal.objective.value(
                attacked.respond(features, batch.samples), None, batch.samples
            )
