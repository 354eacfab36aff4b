"""A plain PyTorch detector of somebody else as a target, with all its traps."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from tiny_target import collated
from torch_detectors import LABELS, NAMES, GridDetector

from perception.attacks import PGD, MapThreat
from perception.attacks.target import HasLosses, HasScores, NoGradientError, Target
from perception.core.structures import DataError
from perception.targets import PictureFormat, TorchDetectorTarget

# 64 x 32 frames are shown at 96 x 64: 96 x 48 and grey below.
SHOWN = PictureFormat(order="bgr", std=255.0, size=(64, 96), fill=114.0)


def target_of(module, **settings):
    settings = {"labels": LABELS, "classes": NAMES, "picture": SHOWN} | settings
    return TorchDetectorTarget(module, **settings)


@pytest.fixture(scope="module")
def trained():
    """Taught in training mode through its own convention, for seconds."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = GridDetector()
        target = target_of(module)
        batch = target.batch(collated(range(8)))
        taught = list(target._taught(batch.inputs, batch.samples))
        images = [image[0] for image, _, _ in taught]
        truth = [{"boxes": boxes, "labels": labels} for _, boxes, labels in taught]
        optimiser = torch.optim.Adam(module.parameters(), lr=5e-3)
        module.train()
        for _ in range(80):
            loss = sum(module(images, truth).values())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    module.zero_grad(set_to_none=True)
    return module.eval()


@pytest.fixture
def target(trained):
    return target_of(trained)


@pytest.fixture
def batch(target):
    return target.batch(collated([0, 1, 2]))


def test_finds_the_objects_by_our_names_in_the_original_picture(target, batch):
    assert isinstance(target, Target) and isinstance(target, HasLosses)
    assert not isinstance(target, HasScores)
    for said, sample in zip(
        target.predict(batch.inputs, batch.samples), batch.samples, strict=True
    ):
        for name, box in zip(
            sample.objects.names, sample.objects.boxes_px, strict=True
        ):
            near = np.abs(said.detections.boxes_px - box).max(axis=1) < 6
            assert name in said.detections.names[near]
    half = deepcopy(batch.samples[0])  # as if the frame had been shrunk by a half
    half.set_metainfo({"scale_factor": (0.5, 0.5), "ori_shape": (64, 128)})
    (whole,) = target.predict(batch.select([0]).inputs, batch.samples[:1])
    (double,) = target.predict(batch.select([0]).inputs, [half])
    inside = (whole.detections.boxes_px > 1) & (whole.detections.boxes_px < 31)
    assert np.allclose(
        double.detections.boxes_px[inside], 2 * whole.detections.boxes_px[inside]
    )


def test_losses_leave_the_module_as_it_is(target, batch):
    module = target.module
    before, modes = deepcopy(module.state_dict()), [m.training for m in module.modules()]
    random = torch.random.get_rng_state()
    first = target.losses(batch.inputs, batch.samples)
    assert torch.equal(target.losses(batch.inputs, batch.samples), first)  # no dropout
    assert [m.training for m in module.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), random)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_each_frame_has_its_own_loss(target, batch):
    together = target.losses(batch.inputs, batch.samples)
    for n in range(len(batch)):
        one = batch.select([n])
        alone = target.losses(one.inputs, one.samples)
        assert torch.allclose(alone, together[n : n + 1], rtol=1e-5)
    inputs = {"camera": batch.inputs["camera"].clone().requires_grad_()}
    target.losses(inputs, batch.samples)[0].backward()
    reached = inputs["camera"].grad.abs().flatten(1).sum(dim=1)
    assert reached[0] > 0 and (reached[1:] == 0).all()


def test_attacked(target, batch):
    attack = PGD(MapThreat(name="t", sensor="camera", eps=16.0, steps=5))
    result = attack(target, batch)
    with torch.no_grad():
        clean = target.losses(batch.inputs, batch.samples)
    assert (result.detection_loss > clean).all()
    assert all(p.requires_grad for p in target.module.parameters())


def test_a_cut_gradient_is_said(trained, batch):
    module = GridDetector(detached=True)
    module.load_state_dict(trained.state_dict())
    attack = PGD(MapThreat(name="t", sensor="camera", eps=16.0, steps=1))
    with pytest.raises(NoGradientError, match="without a graph"):
        attack(target_of(module), batch)


def test_wrong_order_scale_or_letterbox_would_be_noticed(trained, target, batch):
    """The right format has by far the least loss; each part of it counts."""
    with torch.no_grad():
        right = target.losses(batch.inputs, batch.samples).mean()
        for wrong in (
            {"std": 1.0},
            {"size": (64, 96), "keep_ratio": False},
            {"size": None, "fill": None},
        ):
            fields = {**vars(SHOWN), **wrong}
            other = target_of(trained, picture=PictureFormat(**fields))
            loss = other.losses(batch.inputs, batch.samples).mean()
            assert loss > 1.5 * right, wrong


def test_unknown_class_names_are_refused(trained):
    with pytest.raises(ValueError, match=r"no classes \['car'\]"):
        target_of(trained, classes={"Car": ["car"]})


def test_frames_without_labels_are_refused(target):
    data = collated([0])
    del data["data_samples"][0].gt_instances
    with pytest.raises(DataError, match="000000: no labels"):
        target.batch(data)
