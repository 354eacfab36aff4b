"""The objective that moves the nearest object, by hand and through a detector."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from tiny_detectors import EXPERTS, FCOS, MEDIAN, make_batch, make_detector, make_sample

from perception.attacks import PGD, AttackBatch, MapThreat
from perception.attacks.goals import Goal
from perception.attacks.objectives import Displace
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


def test_metres_by_hand():
    """3 m and 4 m off, sure by 0.8 and 0.4: 0.64 and 0.16 of the weight."""
    says = Says([[1.0, 8.0], [-2.0, 12.0], [9.0, 9.0]], [0.8, 0.4, 0.9])
    value = Displace().value(says, None, [sample()])
    expected = (0.64 * 3 + 0.16 * 4) / 0.8
    assert value.tolist() == pytest.approx([expected], rel=1e-4)


@pytest.mark.parametrize("targets", [[], [[float("nan")] * 7] * 2])
def test_without_an_object_in_space_there_is_nothing_to_move(targets):
    one = sample()
    one.gt_instances = one.gt_instances[: len(targets)]
    one.gt_instances.targets_3d = torch.tensor(targets).reshape(-1, 7)
    says = Says([[1.0, 8.0], [-2.0, 12.0], [9.0, 9.0]], [0.8, 0.4, 0.9])
    assert Displace().value(says, None, [one]).tolist() == [0]


def target(head=METRIC, **arguments):
    detector = make_detector(head=head, **arguments).eval()
    detector.dataset_meta = {"classes": ("Car", "Pedestrian")}
    return DetectorTarget(detector)


def batch_of(attacked) -> AttackBatch:
    return attacked.batch(make_batch([sample()]))


def pgd(eps: float) -> PGD:
    goal = Goal.parse("displace")
    return PGD(MapThreat(name="t", sensor="thermal", eps=eps, steps=6, goal=goal))


def test_pgd_moves_the_nearest_object():
    attacked = target()
    batch = batch_of(attacked)
    few, many = (pgd(eps)(attacked, batch).value.item() for eps in (1e-3, 100.0))
    assert many > few > 0


def test_of_parts_and_through_an_aggregator():
    attacked = target(**EXPERTS, aggregator=MEDIAN, branch_head=METRIC)
    batch = batch_of(attacked)
    features = {n: attacked.encode(n, batch.inputs[n]) for n in attacked.sensors}
    with attacked.frozen():
        said = attacked.respond(features, batch.samples)
        whole, alone = said.ground(), said.ground(BranchPrediction("radar"))
        again = said.with_numbers(said.numbers()).ground()
    assert whole.shape == alone.shape == (1, 160, 2)
    assert torch.equal(whole, again) and not torch.equal(whole, alone)


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
