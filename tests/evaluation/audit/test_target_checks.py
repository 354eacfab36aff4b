"""The check of a target passes a sound one and fails on planted faults."""

import pytest
import torch
from tiny_target import collated
from torch_detectors import LABELS, NAMES, GridDetector

from perception.evaluation.audit.target_checks import (
    alone_as_together,
    capabilities,
    check_target,
    finds_objects,
    is_used,
    leaves_inputs_alone,
    own_losses,
    same_predictions,
    well_formed,
)
from perception.targets import DetectorTarget, PictureFormat, TorchDetectorTarget


class Faulty(DetectorTarget):
    """A sound target; each of its children has one fault."""


class Averaged(Faulty):
    def losses(self, inputs, frames):
        return super().losses(inputs, frames).mean().expand(len(frames))


class Scalar(Faulty):
    def losses(self, inputs, frames):
        return super().losses(inputs, frames).mean()


class Dropping(Faulty):
    def losses(self, inputs, frames):
        return super().losses(inputs, frames) * (0.5 + torch.rand(()))


class Writing(Faulty):
    def predict(self, inputs, frames, leave_out=None):
        inputs["camera"].clamp_(max=50)
        return super().predict(inputs, frames, leave_out)


class Misnamed(Faulty):
    def predict(self, inputs, frames, leave_out=None):
        said = super().predict(inputs, frames, leave_out)
        for one in said:
            one.detections.names[:] = "car"
        return said


class Scaled(Faulty):
    """Its boxes are in pixels of some other picture."""

    def predict(self, inputs, frames, leave_out=None):
        said = super().predict(inputs, frames, leave_out)
        for one in said:
            one.detections.boxes_px[:] *= 3
        return said


class Random(Faulty):
    def predict(self, inputs, frames, leave_out=None):
        noise = {k: v + 60 * torch.randn_like(v) for k, v in inputs.items()}
        return super().predict(noise, frames, leave_out)


class Mixing(Faulty):
    """As with batch norm in training mode: frames hear of each other."""

    def predict(self, inputs, frames, leave_out=None):
        mixed = {k: v + v.mean(dim=0) - v[0] for k, v in inputs.items()}
        return super().predict(mixed, frames, leave_out)


class Blind(Faulty):
    """Does not look at its depth."""

    def predict(self, inputs, frames, leave_out=None):
        level = {**inputs, "depth": torch.full_like(inputs["depth"], 40.0)}
        return super().predict(level, frames, leave_out)


def failures(target):
    batch = target.batch(collated([0, 1]))
    return {c.name for c in check_target(target, [batch]) if not c.passed}


class Rounding(TorchDetectorTarget):
    """Its gradient, straight through, is not that of what it computes."""

    def loss(self, image, boxes, labels):
        coarse = (image * 5).round() / 5
        return super().loss(coarse + 3 * (image - image.detach()), boxes, labels)


def outside(kind=TorchDetectorTarget, **faults):
    torch.manual_seed(0)
    picture = PictureFormat(std=255.0)
    module = GridDetector(**faults)
    return kind(module, labels=LABELS, classes=NAMES, picture=picture)


def test_a_sound_target(tiny_target):
    batch = tiny_target.batch(collated([0, 1]))
    checks = check_target(tiny_target, [batch])
    assert [check.line() for check in checks if not check.passed] == []
    names = {check.name for check in checks}
    assert {"gradient is true on lidar", "corruptions change depth"} <= names
    lines = capabilities(tiny_target, batch)
    assert [line[:3] for line in lines] == ["yes"] * 4


def test_what_somebody_elses_can_do():
    target = outside()
    batch = target.batch(collated([0, 1]))
    assert [line[:3] for line in capabilities(target, batch)] == [
        "yes",
        "no ",
        "no ",
        "no ",
    ]
    # Untrained; nothing else is wrong with it.
    assert failures(target) == {"finds labelled objects"}


def test_gradients_that_are_none_or_wrong():
    assert "gradient reaches camera" in failures(outside(detached=True))
    assert "gradient is true on camera" in failures(outside(Rounding))
    assert "predicts the same twice" in failures(outside(noisy=True))


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (Averaged, own_losses),
        (Scalar, own_losses),
        (Dropping, own_losses),
        (Writing, leaves_inputs_alone),
        (Misnamed, well_formed),
        (Scaled, finds_objects),
        (Random, same_predictions),
        (Mixing, alone_as_together),
    ],
)
def test_planted_faults(kind, check, tiny_target, tiny_detector):
    batches = [tiny_target.batch(collated([0, 1]))]
    assert check(tiny_target, batches).passed
    failed = check(kind(tiny_detector), batches)
    assert not failed.passed and failed.explanation


def test_a_sensor_that_is_not_read(tiny_target, tiny_detector):
    batches = [tiny_target.batch(collated([0, 1]))]
    assert is_used(tiny_target, batches, "depth").passed
    assert not is_used(Blind(tiny_detector), batches, "depth").passed


def test_an_error_is_a_failure_in_one_line():
    def broken(*_):
        raise TypeError("no\nway")

    target = outside()
    target.predict = broken
    checks = check_target(target, [target.batch(collated([0, 1]))])
    assert all("TypeError: no way" in c.explanation for c in checks[:5])
