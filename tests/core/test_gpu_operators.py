"""mmcv's operators for a GPU that it was not compiled for."""

import logging

import mmcv.ops
import pytest
import torch
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
from mmengine.logging import MMLogger

from perception.core import gpu_operators
from perception.core.dependencies import require_mmcv_ops


@pytest.fixture(autouse=True)
def _completed():
    require_mmcv_ops()
    if mmcv.ops.get_compiling_cuda_version() != "not available":
        pytest.skip("this mmcv has operators for GPUs of its own")


@pytest.fixture
def on_gpu(monkeypatch):
    """Every tensor counts as one that mmcv's operators cannot read; logged lines."""
    monkeypatch.setattr(gpu_operators, "is_gpu", lambda device: True)
    gpu_operators._say.cache_clear()
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)
    gpu_operators._say.cache_clear()


def focal_loss_of_mmdet(logits, labels, gamma, alpha):
    own = torch.nn.functional.one_hot(labels, logits.shape[1] + 1)[:, :-1]
    return py_sigmoid_focal_loss(
        logits, own, gamma=gamma, alpha=alpha, reduction="none"
    )


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (1.5, 0.6), (0.0, 0.5)])
def test_focal_loss_equals_mmdet_s_on_the_cpu(gamma, alpha):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 3, generator=generator) * 5
    logits[0] = torch.tensor([80.0, -80.0, 0.0])  # no NaN where a score is 0 or 1
    labels = torch.randint(0, 4, (50,), generator=generator)  # 3 is background
    grads = []
    for loss_of in (mmcv.ops.sigmoid_focal_loss, focal_loss_of_mmdet):
        x = logits.clone().requires_grad_()
        more = (None, "none") if loss_of is mmcv.ops.sigmoid_focal_loss else ()
        loss = loss_of(x, labels, gamma, alpha, *more)
        loss.sum().backward()
        grads.append((loss.detach(), x.grad))
    (loss, grad), (expected_loss, expected_grad) = grads
    assert torch.isfinite(grad).all()
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-5, atol=1e-5)


def test_focal_loss_by_hand():
    """p = 0.5 everywhere: own class 0.25 * 0.5^2 * ln 2, another's 0.75 * the same."""
    loss = mmcv.ops.sigmoid_focal_loss(
        torch.zeros(2, 2), torch.tensor([0, 2]), 2.0, 0.25, None, "none"
    )
    own, other = 0.0433217, 0.1299651
    expected = torch.tensor([[own, other], [other, other]])
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    weighted = mmcv.ops.sigmoid_focal_loss(
        torch.zeros(1, 2), torch.tensor([1]), 2.0, 0.25, torch.tensor([1.0, 3]), "none"
    )
    expected = torch.tensor([[3 * other, 3 * own]])
    torch.testing.assert_close(weighted, expected, rtol=1e-5, atol=1e-6)


def test_nms_is_mmcv_s_own_and_said_once(on_gpu):
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(200, 2, generator=generator) * 50
    size = torch.rand(200, 2, generator=generator) * 30
    boxes, scores = torch.cat([corner, corner + size], 1), torch.rand(200)
    labels = torch.randint(0, 3, (200,), generator=generator)
    config = dict(type="nms", iou_threshold=0.5)
    ours = [mmcv.ops.batched_nms(boxes, scores, labels, config) for _ in range(2)]
    assert on_gpu == ["mmcv has no nms for GPUs: the CPU computes it"]
    gpu_operators.is_gpu = lambda device: False  # undone by the fixture
    expected = mmcv.ops.batched_nms(boxes, scores, labels, config)
    for dets, kept in ours:
        assert torch.equal(dets, expected[0]) and torch.equal(kept, expected[1])
    assert 10 < len(expected[1]) < 190


def test_results_in_arguments_come_back_and_inputs_are_not_touched(on_gpu):
    """RoIAlign fills its last argument; its gradient goes the same way."""
    feature = torch.arange(16.0).view(1, 1, 4, 4).requires_grad_()
    version = feature._version
    rois = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]])
    out = mmcv.ops.roi_align(feature, rois, (1, 1), 1.0, 0, "avg", True)
    assert out.item() == pytest.approx(7.5)  # the mean of 0 … 15
    assert feature._version == version  # else autograd would refuse
    out.backward()
    assert feature.grad.sum().item() == pytest.approx(1.0)


def test_deformable_convolution_without_offsets_is_a_convolution(on_gpu):
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(1, 2, 6, 6, generator=generator)
    weight = torch.rand(3, 2, 3, 3, generator=generator)
    out = mmcv.ops.deform_conv2d(x, torch.zeros(1, 18, 6, 6), weight, 1, 1)
    expected = torch.nn.functional.conv2d(x, weight, padding=1)
    torch.testing.assert_close(out, expected)
