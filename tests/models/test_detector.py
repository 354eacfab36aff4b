"""The whole detector, with sensors that are not KITTI's."""

import warnings

import pytest
import torch
from tiny_detectors import (
    AGREEMENT,
    CONSENSUS,
    FCOS,
    MEDIAN,
    NAMES,
    RETINA,
    SPECS,
    branch,
    make_batch,
    make_detector,
    make_sample,
)
from torch import nn

from perception.core.parts import LeaveOut
from perception.core.structures import DataError
from perception.models import DetectorOutput, MultiModalDetector, SensorBranch
from perception.models.consensus.gate import Verdict
from perception.models.heads.outputs import shared_targets

HEADS = pytest.mark.parametrize("head", [FCOS, RETINA], ids=["fcos", "retina"])


def prepared(detector, samples=None):
    data = detector.data_preprocessor(make_batch(samples))
    return data["inputs"], data["data_samples"]


def freeze_batch_norm(detector) -> None:
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("fusion", ["ConcatFusion", "OddOneOutFusion"])
def test_three_modes_with_any_number_of_sensors(count, fusion):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = make_detector(NAMES[:count], fusion=fusion)
    inputs, samples = prepared(detector, [make_sample(), make_sample()])
    assert list(inputs) == list(NAMES[:count]) == list(detector.sensors)
    losses = detector(inputs, samples, mode="loss")
    assert all(torch.isfinite(value).all() for value in losses.values())
    gated = fusion == "OddOneOutFusion" and count > 1
    assert ("loss_odd_one_out" in losses) == gated
    detector.eval()
    scores, *_ = detector(inputs)
    assert [level.shape for level in scores] == [(2, 2, 8, 16), (2, 2, 4, 8)]
    for result in detector(inputs, samples, mode="predict"):
        assert result.pred_instances.bboxes.shape == (5, 4)
        assert ("gate" in result) == gated
        if gated:
            assert result.gate.shape == (count + 1,)
            assert result.gate.sum().item() == pytest.approx(1)


@HEADS
def test_loss_is_the_same_in_training_and_evaluation_mode(head):
    detector = make_detector(head=head)
    inputs, samples = prepared(detector)
    detector.train()
    freeze_batch_norm(detector)
    training = detector(inputs, samples, mode="loss")
    detector.eval()
    evaluation = detector(inputs, samples, mode="loss")
    assert not any(module.training for module in detector.modules())
    for name, value in training.items():
        torch.testing.assert_close(evaluation[name], value, msg=name)


@HEADS
def test_losses_of_single_frames(head):
    """By itself a frame has the loss of a batch of one."""
    detector = make_detector(head=head).eval()
    boxes = [(4, 4, 20, 28)]
    inputs, samples = prepared(detector, [make_sample(), make_sample(boxes)])
    with detector.for_losses():
        fused = detector.fuse(detector.extract_feat(inputs))
        losses = detector.frame_losses(fused, samples)
    with pytest.raises(RuntimeError, match=r"within detector\.for_losses"):
        detector.frame_losses(fused, samples)
    assert losses.shape == (2,)
    for n, sample in enumerate(samples):
        one = {name: value[n : n + 1] for name, value in inputs.items()}
        total, _ = detector.parse_losses(detector(one, [sample], mode="loss"))
        torch.testing.assert_close(losses[n], total)


@HEADS
@pytest.mark.parametrize("fusion", ["ConcatFusion", "OddOneOutFusion"])
def test_a_gradient_reaches_every_raw_sensor(head, fusion):
    detector = make_detector(NAMES, fusion=fusion, head=head).eval()
    batch = make_batch()
    raw = {
        name: [value[0].float().requires_grad_()]
        for name, value in batch["inputs"].items()
    }
    data = detector.data_preprocessor(batch | {"inputs": raw})
    total, _ = detector.parse_losses(detector(**data, mode="loss"))
    total.backward()
    for name, (value,) in raw.items():
        assert torch.isfinite(value.grad).all()
        assert value.grad.abs().sum() > 0, name
    drawn = (data["inputs"]["radar"][0, 0] > 0).sum()
    reached = raw["radar"][0].grad[:, :3].abs().sum(dim=1) > 0
    assert reached.sum() == drawn  # every visible point, and no other


@HEADS
def test_a_few_steps_of_training_lower_the_loss(head):
    detector = make_detector(head=head)
    inputs, samples = prepared(detector)
    optimizer = torch.optim.Adam(detector.parameters(), 1e-2)
    totals = []
    for _ in range(8):
        total, _ = detector.parse_losses(detector(inputs, samples, mode="loss"))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.9 * totals[0]


@HEADS
def test_a_frame_without_objects(head):
    detector = make_detector(head=head)
    inputs, samples = prepared(detector, [make_sample([])])
    losses = detector(inputs, samples, mode="loss")
    total, _ = detector.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)


@HEADS
def test_predictions_are_in_pixels_of_the_original_image(head):
    detector = make_detector(head=head).eval()
    half = dict(ori_shape=(64, 256), scale_factor=(0.25, 0.5))
    inputs, samples = prepared(detector, [make_sample(**half)])
    with torch.no_grad():
        (scaled,) = detector.predict(inputs, samples)
        scaled = scaled.pred_instances.bboxes.clone()
        (plain,) = detector.predict(inputs, samples, rescale=False)
    factor = torch.tensor([4.0, 2.0, 4.0, 2.0])
    torch.testing.assert_close(scaled, plain.pred_instances.bboxes * factor)
    assert (plain.pred_instances.bboxes[:, 2] <= 64).all()


def test_boxes_are_refused_from_heads_that_answer_for_losses():
    """FCOS leaves its boxes unscaled then: tiny ones, and no error of its own."""
    detector = make_detector(NAMES[:2]).eval()
    packed = detector.data_preprocessor(make_batch([make_sample()]))
    with detector.for_losses(), pytest.raises(RuntimeError, match="in eval mode"):
        detector(**packed, mode="predict")
    assert detector(**packed, mode="predict")


def test_spatial_gate_is_averaged_and_kept():
    detector = make_detector(fusion="OddOneOutFusion", gate="spatial").eval()
    inputs, samples = prepared(detector)
    (result,) = detector(inputs, samples, mode="predict")
    assert result.gate_map.shape == (4, 4, 8)
    torch.testing.assert_close(result.gate, result.gate_map.mean(dim=(1, 2)))


def test_what_a_gate_says_is_written_on_the_samples():
    samples = [make_sample(), make_sample()]
    shares = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    parts = dict(pyramids={"a": (), "b": ()}, branches=(), aggregator=None)
    parts |= dict(fusion=None, head=None)
    verdict = Verdict(gate_logits=shares.log(), alarm=torch.tensor([-1.0, 2.0]))
    DetectorOutput(verdict=verdict, **parts).write_gate(samples)
    torch.testing.assert_close(torch.stack([s.gate for s in samples]), shares)
    assert [s.alarm.item() for s in samples] == [-1.0, 2.0]
    DetectorOutput(verdict=Verdict(), **parts).write_gate(plain := [make_sample()])
    assert "gate" not in plain[0] and "alarm" not in plain[0]


def test_the_gate_is_taught_by_the_metainfo():
    detector = make_detector(fusion="OddOneOutFusion")
    freeze_batch_norm(detector)
    samples = [make_sample(), make_sample(odd_sensor="sonar")]
    inputs, samples = prepared(detector, samples)
    loss = detector(inputs, samples, mode="loss")["loss_odd_one_out"]
    logits = detector.fuse(detector.extract_feat(inputs)).gate_logits
    expected = -logits.log_softmax(dim=1)[[0, 1], [3, 2]].mean()
    torch.testing.assert_close(loss, expected)


def test_a_sensor_left_out_does_not_change_predictions():
    detector = make_detector(fusion="OddOneOutFusion").eval()
    inputs, samples = prepared(detector)
    spoilt = inputs | {"radar": torch.full_like(inputs["radar"], float("nan"))}
    told = LeaveOut("radar")
    with torch.no_grad():
        (clean,) = detector.predict(inputs, samples, leave_out=told)
        clean = clean.pred_instances.clone()
        (other,) = detector.predict(spoilt, samples, leave_out=told)
    assert torch.equal(clean.bboxes, other.pred_instances.bboxes)
    assert torch.equal(clean.scores, other.pred_instances.scores)
    with pytest.raises(ValueError, match=r"no sensor 'nose' to leave out.*thermal"):
        detector.predict(inputs, samples, leave_out=LeaveOut("nose"))
    plain = make_detector().eval()
    assert not plain.can_leave_out
    with pytest.raises(ValueError, match="cannot be told to leave a sensor out"):
        plain.predict(inputs, samples, leave_out=told)


def test_an_aggregator_fits_its_fusion():
    experts = r"needs a fusion that can leave sensors out, .*got Mean"
    with pytest.raises(ValueError, match=experts):
        make_detector(fusion="MeanFusion", aggregator=CONSENSUS)
    with pytest.raises(ValueError, match="set gate=None in the fusion"):
        make_detector(fusion="OddOneOutFusion", aggregator=AGREEMENT)
    with pytest.raises(ValueError, match="margins are for what is fused"):
        make_detector(fusion=None, aggregator=MEDIAN | {"margin": 1.0})
    with pytest.raises(ValueError, match="without a fusion needs an aggregator"):
        make_detector(fusion=None)
    with pytest.raises(ValueError, match="one branch takes no aggregator"):
        make_detector(NAMES[:1], aggregator=MEDIAN)
    output = make_detector(fusion="MeanFusion", aggregator=MEDIAN)
    assert output.can_leave_out and not output.has_gate


def test_padding_is_right_and_bottom_and_empty():
    detector = make_detector(NAMES)
    small = make_sample(size=(17, 40))
    batch = make_batch([small, make_sample(size=(30, 33))], size=(17, 40))
    for name in ("thermal", "sonar", "eyes"):
        batch["inputs"][name][1] = torch.full((1, 30, 33), 9.0)
    batch["inputs"]["eyes"][1] = torch.full((3, 30, 33), 9.0)
    data = detector.data_preprocessor(batch)
    for name, value in data["inputs"].items():
        assert value.shape == (2, len(SPECS[name]["channels"]), 32, 48)
        assert value.dtype == torch.float32
        assert not value[0, :, 17:].any() and not value[0, :, :, 40:].any()
        assert value[0, :, :17, :40].any()
        assert not value[1, :, 30:].any() and not value[1, :, :, 33:].any()
    assert (data["inputs"]["eyes"][1, :, :30, :33] == 9).all()
    assert data["data_samples"][0].batch_input_shape == (32, 48)


def test_missing_sensor_names_frame_and_sensor():
    detector = make_detector()
    expected = "frame 000012: no sonar data, which this detector needs"
    batch = make_batch([make_sample(frame_id="000012")])
    del batch["inputs"]["sonar"]
    with pytest.raises(DataError, match=expected):
        detector.data_preprocessor(batch)
    batch = make_batch([make_sample(), make_sample(frame_id="000012")])
    batch["inputs"]["sonar"][1] = None
    with pytest.raises(DataError, match=expected):
        detector.data_preprocessor(batch)
    make_detector(NAMES[:2]).data_preprocessor(batch)  # does not need it


def test_wrong_point_columns_are_named():
    batch = make_batch()
    batch["inputs"]["radar"] = [torch.zeros(5, 3)]
    with pytest.raises(ValueError, match=r"points must be \(P, 4\)"):
        make_detector().data_preprocessor(batch)


def test_branch_normalises_in_physical_units():
    config = branch(2) | dict(mean=[10.0, 0.0], std=[2.0, 4.0])
    built = SensorBranch(**{k: v for k, v in config.items() if k != "type"}).eval()
    image = torch.rand(1, 2, 16, 16)
    raw = image * torch.tensor([2.0, 4.0]).view(1, 2, 1, 1)
    raw = raw + torch.tensor([10.0, 0.0]).view(1, 2, 1, 1)
    expected = built.neck(built.backbone(image))
    for one, other in zip(built(raw), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_errors_of_the_config():
    names = list(NAMES[:2])
    with pytest.raises(ValueError, match="mean and std need one value per channel"):
        SensorBranch(mean=[1.0], std=[0.0], backbone={})
    arguments = dict(
        bbox_head=FCOS,
        data_preprocessor=dict(type="MultiModalPreprocessor", sensors=SPECS),
    )
    with pytest.raises(ValueError, match=r"one branch takes no fusion.*got 2 branch"):
        MultiModalDetector(branches={name: branch(1) for name in names}, **arguments)
    assert make_detector().fusion.shape.sensors == NAMES[:3]
    with pytest.raises(ValueError, match=r"\['echo'\] have no entry.*'thermal'"):
        MultiModalDetector(branches={"echo": branch(1)}, **arguments)


def test_ground_truth_is_assigned_once_within_a_context():
    detector = make_detector()
    packed = detector.data_preprocessor(make_batch())
    fused = detector.fuse(detector.extract_feat(packed["inputs"]))
    samples, head = packed["data_samples"], detector.bbox_head
    expected = detector.frame_losses(fused, samples)
    assert fused.outputs is fused.outputs
    calls = []
    original = type(head)._get_targets_single

    def counted(*arguments, **named):
        calls.append(1)
        return original(head, *arguments, **named)

    head._get_targets_single = counted
    with shared_targets(head, None):
        with shared_targets(head):  # an attack within an attack
            detector.frame_losses(fused, samples)
        for _ in range(3):
            assert torch.equal(detector.frame_losses(fused, samples), expected)
        other = make_sample(boxes=[(10, 2, 40, 30)])
        assert not torch.equal(detector.frame_losses(fused, [other]), expected)
    assert len(calls) == 2  # the frame's and the other's
    assert "get_targets" not in vars(head)
