"""All frames' FCOS losses in one pass, against MMDetection's, a frame at a time."""

import pytest
import torch
from mmdet.models.dense_heads import FCOSHead
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from tiny_detectors import FCOS, RETINA, make_batch, make_detector, make_sample

from perception.models.heads.fcos_frame_losses import (
    can_take_frames_at_once,
    fcos_frame_losses,
)

SIZES = ((8, 16), (4, 8))  # of the levels of a 32 x 64 px image at strides 4 and 8
VARIANTS = pytest.mark.parametrize(
    "changed",
    [
        {},
        dict(center_sampling=True, loss_bbox=dict(type="GIoULoss", loss_weight=2.0)),
        dict(norm_on_bbox=False),
    ],
    ids=["iou", "giou, centres only", "distances in px"],
)


def make_head(**changed):
    torch.manual_seed(0)
    return MODELS.build(FCOS | changed).train()


def random_outputs(frames, seed=0):
    """Class logits, positive distances and centerness logits of both levels."""
    generator = torch.Generator().manual_seed(seed)

    def normal(channels):
        return [
            torch.randn(frames, channels, *size, generator=generator).double()
            for size in SIZES
        ]

    kinds = normal(2), [level.exp() for level in normal(4)], normal(1)
    return tuple([level.requires_grad_() for level in kind] for kind in kinds)


def random_truth(counts, seed=0):
    """Frames of so many objects, up to 40 px wide and 24 px high."""
    generator = torch.Generator().manual_seed(seed)
    truth = []
    for count in counts:
        corner = torch.rand(count, 2, generator=generator) * torch.tensor([40.0, 16.0])
        size = 2 + torch.rand(count, 2, generator=generator) * torch.tensor([38.0, 22])
        boxes = torch.cat([corner, corner + size], dim=1).double()
        labels = torch.randint(2, (count,), generator=generator)
        truth.append(InstanceData(bboxes=boxes, labels=labels))
    return truth


def one_by_one(head, outputs, truth):
    frames = []
    for n, frame in enumerate(truth):
        own = [[level[n : n + 1] for level in kind] for kind in outputs]
        frames.append(sum(head.loss_by_feat(*own, [frame], [{}]).values()))
    return torch.stack(frames)


@VARIANTS
def test_the_loop_s_numbers_and_gradients(changed):
    head, outputs = make_head(**changed), random_outputs(5)
    truth = random_truth([3, 0, 1, 7, 2])
    levels = [level for kind in outputs for level in kind]
    expected = one_by_one(head, outputs, truth)
    got = fcos_frame_losses(head, outputs, truth)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7)
    assert (got > 0).all()
    weights = torch.arange(1.0, 6).double()  # tells frames apart
    wanted = torch.autograd.grad((expected * weights).sum(), levels)
    gradients = torch.autograd.grad((got * weights).sum(), levels)
    for one, other in zip(gradients, wanted, strict=True):
        assert other.abs().sum() > 0
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_the_gradient_is_that_of_finite_differences():
    head, truth = make_head(loss_bbox=dict(type="GIoULoss")), random_truth([2, 0])
    scores, distances, centerness = random_outputs(2)
    assert torch.autograd.gradcheck(
        lambda *small: fcos_frame_losses(
            head, ([scores[0], small[0]], [distances[0], small[1]], centerness), truth
        ),
        (scores[1], distances[1]),
    )


def test_frames_none_of_which_has_an_object():
    head, outputs = make_head(), random_outputs(2)
    truth = random_truth([0, 0])
    got = fcos_frame_losses(head, outputs, truth)
    torch.testing.assert_close(got, one_by_one(head, outputs, truth))
    (gradient,) = torch.autograd.grad(got.sum(), outputs[0][0])
    assert gradient.isfinite().all() and gradient.any()


def test_a_frame_that_diverges_spoils_no_other():
    head, outputs = make_head(), random_outputs(3)
    truth = random_truth([2, 3, 0])
    expected = fcos_frame_losses(head, outputs, truth)
    with torch.no_grad():
        for kind in outputs:
            for level in kind:
                level[1] = torch.nan
    got = fcos_frame_losses(head, outputs, truth)
    assert got.isnan().tolist() == [False, True, False]
    assert torch.equal(got[[0, 2]], expected[[0, 2]])
    gradients = torch.autograd.grad(got.sum(), [k[0] for k in outputs])
    assert all(gradient[[0, 2]].isfinite().all() for gradient in gradients)


def test_only_what_is_known_to_be_the_same_is_taken_at_once():
    class Other(FCOSHead):
        pass

    assert can_take_frames_at_once(make_head())
    arguments = {name: value for name, value in FCOS.items() if name != "type"}
    assert not can_take_frames_at_once(Other(**arguments))
    assert not can_take_frames_at_once(MODELS.build(RETINA))
    for changed in (
        dict(loss_bbox=dict(type="SmoothL1Loss")),
        dict(loss_bbox=dict(type="GIoULoss", reduction="sum")),
        dict(loss_cls=dict(type="QualityFocalLoss")),
    ):
        assert not can_take_frames_at_once(make_head(**changed))


@pytest.mark.parametrize("head", [FCOS, RETINA], ids=["fcos", "retina"])
def test_a_detector_uses_it_where_it_can(head, monkeypatch):
    detector = make_detector(head=head).eval()
    frames = [make_sample(), make_sample([(4, 4, 20, 28)]), make_sample([])]
    packed = detector.data_preprocessor(make_batch(frames))
    calls = []
    original = type(detector.bbox_head).loss_by_feat

    def counted(*arguments, **named):
        calls.append(1)
        return original(*arguments, **named)

    with detector.for_losses():
        fused = detector.fuse(detector.extract_feat(packed["inputs"]))
        monkeypatch.setattr(type(detector.bbox_head), "loss_by_feat", counted)
        assert detector.frame_losses(fused, packed["data_samples"]).shape == (3,)
    assert len(calls) == (0 if head is FCOS else 3)
