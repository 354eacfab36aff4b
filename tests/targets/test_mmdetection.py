"""A small FCOS of MMDetection's own, trained for seconds, by config and checkpoint."""

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from tiny_kitti import make_frame
from tiny_target import collated, detector_config

from perception.attacks import PGD, MapThreat, build_attack
from perception.attacks.target import DoesNotApplyError, HasScores
from perception.core.structures import DataError
from perception.targets import MMDetectionTarget

LABELS = ("car", "person", "bike")
NAMES = {"Car": ["car"], "Pedestrian": ["person"], "Cyclist": ["bike"]}
# The frames are 64 x 32; it wants them at 96 x 48, then grey to 96 x 64.
PIPELINE = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(96, 64), keep_ratio=True),
    dict(type="Pad", size=(96, 64), pad_val=dict(img=(114, 114, 114))),
    dict(type="PackDetInputs"),
]


def config_of():
    ours = detector_config()
    branch = ours["branches"]["camera"]
    head = ours["bbox_head"]
    model = dict(
        type="FCOS",
        data_preprocessor=dict(
            type="DetDataPreprocessor",
            mean=[50.0, 60.0, 70.0],
            std=[60.0, 60.0, 50.0],
            bgr_to_rgb=False,
            pad_size_divisor=32,
        ),
        backbone=branch["backbone"],
        neck=branch["neck"],
        bbox_head=head,
        test_cfg=ours["test_cfg"],
    )
    data = dict(dataset=dict(pipeline=PIPELINE, metainfo=dict(classes=LABELS)))
    return Config(dict(model=model, test_dataloader=data))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A config and a checkpoint, the detector taught four frames."""
    folder = tmp_path_factory.mktemp("fcos")
    init_default_scope("mmdet")
    config = config_of()
    config.dump(folder / "fcos.py")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS.build(config.model)
        model.init_weights()
        torch.save({"state_dict": model.state_dict()}, folder / "fcos.pth")
        target = MMDetectionTarget(
            folder / "fcos.py", folder / "fcos.pth", classes=NAMES
        )
        batch = target.batch(collated([0, 1, 2, 3]))
        images = torch.cat(
            [image for image, _, _ in target._taught(batch.inputs, batch.samples)]
        )
        model = target.module
        samples = []
        from mmengine.structures import InstanceData

        from perception.targets.mmdetection import _sample

        for image, boxes, labels in target._taught(batch.inputs, batch.samples):
            sample = _sample(image)
            sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
            samples.append(sample)
        model.train()
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(60):
            total, _ = model.parse_losses(model.loss(images, samples))
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
    content = {
        "state_dict": model.state_dict(),
        "meta": {"dataset_meta": {"classes": LABELS}},
    }
    torch.save(content, folder / "fcos.pth")
    return folder / "fcos.py", folder / "fcos.pth"


@pytest.fixture(scope="module")
def target(files):
    return MMDetectionTarget(*files, classes=NAMES)


@pytest.fixture
def batch(target):
    return target.batch(collated([0, 1, 2]))


def test_finds_what_mmdetection_finds(target, batch):
    """The file's pipeline in NumPy and ours in PyTorch end in the same boxes."""
    target.module.cfg = config_of()
    said = target.predict(batch.inputs, batch.samples)
    for n, sample in enumerate(batch.samples):
        bgr = make_frame(n).sensors["camera"][..., ::-1].copy()
        theirs = inference_detector(target.module, bgr).pred_instances
        ours = said[n].detections
        assert np.allclose(ours.scores[:5], theirs.scores[:5], atol=0.02)
        boxes = theirs.bboxes[:5].numpy().clip(0, [64, 32] * 2)
        assert np.allclose(ours.boxes_px[:5], boxes, atol=0.5)
        for name, box in zip(
            sample.objects.names, sample.objects.boxes_px, strict=True
        ):
            near = np.abs(ours.boxes_px - box).max(axis=1) < 5
            assert name in ours.names[near]


def test_losses_are_those_of_training_frame_by_frame(target, batch):
    """FCOS scales boxes by its mode, so that its loss in eval mode is another one."""
    found = target.losses(batch.inputs, batch.samples)
    assert torch.equal(found, target.losses(batch.inputs, batch.samples))
    head, body = target.module.bbox_head, target.module.backbone
    assert not head.training and not body.training
    image, boxes, labels = next(target._taught(batch.inputs, batch.samples))
    head.training = True
    features = target.module.extract_feat(image)
    from mmengine.structures import InstanceData

    truth = InstanceData(bboxes=boxes, labels=labels)
    terms = head.loss_by_feat(*head(features), [truth], [{"img_shape": (64, 96)}])
    head.training = False
    assert torch.allclose(found[0], sum(terms.values()), rtol=1e-4)


def test_attacked_hidden_and_asked(target, batch):
    result = PGD(MapThreat(name="t", sensor="camera", eps=16.0, steps=5))(target, batch)
    with torch.no_grad():
        assert (
            result.detection_loss > target.losses(batch.inputs, batch.samples)
        ).all()
    assert isinstance(target, HasScores)
    scores = target.scores(batch.inputs, batch.samples)
    assert scores.logits.shape == (3, 16 * 24 + 8 * 12, 3)
    assert scores.centers_px.max() < 64  # in pixels of the frame, not of 96 x 64
    inside = scores.centers_px[:, 1] < 32
    car = batch.samples[0].gt_instances.bboxes[0]
    best = scores.centers_px[inside][scores.logits[0, inside, 0].argmax()]
    assert (best > car[:2]).all() and (best < car[2:]).all()
    threat = dict(type="MapThreat", sensor="camera", eps=16.0, steps=3, goal="hide")
    hidden = build_attack("hide", dict(type="PGD", threat=threat))(target, batch)
    assert hidden.value is not None


def test_without_sigmoid_scores(target, batch, monkeypatch):
    monkeypatch.setattr(target.module.bbox_head.loss_cls, "use_sigmoid", False)
    with pytest.raises(DoesNotApplyError, match="no dense head"):
        target.scores(batch.inputs, batch.samples)


def test_other_weights_and_nameless_classes_are_refused(files, tmp_path):
    config, checkpoint = files
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    del weights["bbox_head.conv_cls.weight"]
    torch.save({"state_dict": weights}, tmp_path / "less.pth")
    with pytest.raises(DataError, match="does not fit the config"):
        MMDetectionTarget(config, tmp_path / "less.pth")
    bare = config_of()
    bare.test_dataloader.dataset.pop("metainfo")
    torch.save(
        {"state_dict": torch.load(checkpoint, weights_only=True)["state_dict"]},
        tmp_path / "bare.pth",
    )
    with pytest.raises(DataError, match="give `labels`"):
        MMDetectionTarget(bare, tmp_path / "bare.pth")
