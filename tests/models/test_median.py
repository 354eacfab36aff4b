"""Fusion by the median of predictions: by hand, its certificate, and in a detector."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_detectors import NAMES, make_batch, make_detector, make_sample

from perception.attacks import build_attack, prepare_batch
from perception.attacks.goals import Goal
from perception.attacks.objectives import Victim, frozen
from perception.models.fusion import FusionOutput, MedianFusion

SENSORS = NAMES[:3]


def neck(sensors=SENSORS, **changes) -> MedianFusion:
    torch.manual_seed(0)
    arguments = dict(sensors=sensors, in_channels=2, num_levels=1, out_channels=2)
    return MedianFusion(**arguments | changes)


def outputs(logit: float, box: float):
    """One location of one level: a class logit and a side of a box."""
    return ([torch.full((1, 1, 1, 1), logit)], [torch.full((1, 1, 1, 1), box)])


def seen(views, blamed=None) -> FusionOutput:
    return FusionOutput((), views=tuple(views), blamed=blamed)


def values(combined) -> tuple[float, float]:
    return combined[0][0].item(), combined[1][0].item()


def test_median_by_hand():
    views = [outputs(-3.0, 8.0), outputs(1.0, 2.0), outputs(0.5, 4.0)]
    assert values(neck().combine(None, seen(views))) == (0.5, 4.0)


def test_four_sensors_keep_the_middle_two():
    views = [outputs(x, 10 * x) for x in (4.0, 1.0, 100.0, 2.0)]
    four = neck(sensors=NAMES)
    assert values(four.combine(None, seen(views))) == (3.0, 30.0)
    wide = neck(sensors=NAMES, fused=dict(type="MeanFusion"))
    assert values(wide.combine(outputs(3.5, 50.0), seen(views))) == (3.5, 40.0)


@pytest.mark.parametrize(
    "said, kept",
    [((2.0, 4.25), (2.0, 4.25)), ((9.0, 9.0), (2.5, 5.0)), ((-9.0, 0.0), (-1.5, 3.0))],
    ids=["within", "above", "below"],
)
def test_a_richer_prediction_stays_near_the_median(said, kept):
    median = neck(fused=dict(type="MeanFusion"), margin=2.0, box_margin=0.25)
    views = [outputs(-3.0, 8.0), outputs(1.0, 2.0), outputs(0.5, 4.0)]
    assert values(median.combine(outputs(*said), seen(views))) == kept


def test_a_sensor_known_to_lie_is_left_out():
    median = neck()
    views = [outputs(-3.0, 8.0), outputs(1.0, 2.0), outputs(0.5, 4.0)]
    said = [median.combine(None, seen(views, torch.tensor([i]))) for i in (1, 3)]
    assert [values(x) for x in said] == [(-1.25, 6.0), (0.5, 4.0)]
    levels = [[torch.zeros(2, 2, 1, 1)] * 3]
    for told, number in ((SENSORS[1], 1), (None, 3)):
        with median.blaming(told):
            assert median.fuse(levels).blamed.tolist() == [number] * 2
    assert median.fuse(levels).blamed is None
    inner = neck(fused=dict(type="OddOneOutFusion", gate_level=0))
    with inner.blaming(SENSORS[0]):
        assert inner.fused.fuse(levels).blamed.tolist() == [0] * 2
    assert inner.fused.fuse(levels).blamed is None
    with pytest.raises(ValueError, match="no sensor 'nose'"), median.blaming("nose"):
        pass


@given(
    count=st.integers(3, 6),
    liar=st.integers(0, 5),
    lie=st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf]),
    margin=st.floats(0, 5),
    seed=st.integers(0, 1000),
)
def test_certificate_whatever_one_sensor_says(count, liar, lie, margin, seed):
    generator = torch.Generator().manual_seed(seed)
    said = torch.randn(count + 1, generator=generator).tolist()
    liar %= count
    sensors = [f"sensor_{i}" for i in range(count)]
    median = neck(
        sensors=sensors, fused=dict(type="MeanFusion"), margin=margin, box_margin=0.1
    )
    honest = [x for i, x in enumerate(said[:count]) if i != liar]
    views = [outputs(x, x) for x in said[:count]]
    views[liar] = outputs(lie, -lie)
    logit, box = values(median.combine(outputs(lie, lie), seen(views)))
    low, high = min(honest), max(honest)
    assert low - margin - 1e-5 <= logit <= high + margin + 1e-5
    assert low - 0.1 * abs(low) - 1e-5 <= box <= high + 0.1 * abs(high) + 1e-5


def test_a_sensor_that_delivers_nan_leads_nothing_astray():
    """From its raw input to the detector's outputs."""
    detector = make_detector(
        SENSORS, fusion="MedianFusion", fused=dict(type="OddOneOutFusion")
    ).eval()
    inputs = detector.data_preprocessor(make_batch())["inputs"]
    with torch.no_grad():
        fused = detector.fuse(detector.extract_branches(inputs))
        _, *honest = fused.views
        nan = torch.full_like(inputs[SENSORS[0]], math.nan)
        changed = detector(inputs | {SENSORS[0]: nan}, mode="tensor")
    for a, b, said in zip(honest[0][0], honest[1][0], changed[0], strict=True):
        assert (said >= torch.minimum(a, b) - 1e-5).all()
        assert (said <= torch.maximum(a, b) + 1e-5).all()


@pytest.mark.parametrize("fused", [None, dict(type="OddOneOutFusion")])
def test_detector_trains_and_no_sensor_moves_an_output_beyond_the_others(fused):
    detector = make_detector(
        SENSORS,
        fusion="MedianFusion",
        fused=fused,
        **({"margin": 1.0} if fused else {}),
    )
    batch = make_batch([make_sample(), make_sample(odd_sensor="radar")])
    packed = detector.data_preprocessor(batch)
    losses = detector(**packed, mode="loss")
    assert {"view_loss_cls", "attacked_view_loss_cls"} <= set(losses)
    assert ("loss_odd_one_out" in losses) == (fused is not None)
    detector.parse_losses(losses)[0].backward()
    for name, parameter in detector.branches.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name

    detector.eval()
    inputs = packed["inputs"]
    with torch.no_grad():
        fused_output = detector.fuse(detector.extract_branches(inputs))
        honest = fused_output.views[1:]
        lied = inputs | {SENSORS[0]: 1e4 * torch.randn_like(inputs[SENSORS[0]])}
        changed = detector(lied, mode="tensor")
    margin = 1.0 if fused else 0.0
    for a, b, said in zip(honest[0][0], honest[1][0], changed[0], strict=True):
        assert (said >= torch.minimum(a, b) - margin - 1e-4).all()
        assert (said <= torch.maximum(a, b) + margin + 1e-4).all()


def test_gate_of_the_inner_neck_is_the_detectors():
    detector = make_detector(
        SENSORS,
        fusion="MedianFusion",
        fused=dict(type="OddOneOutFusion", gate="spatial"),
    ).eval()
    assert detector.fusion.has_gate
    (sample,) = detector.test_step(make_batch())
    assert sample.gate.shape == (4,)
    assert not neck().has_gate


def test_view_head_detects_with_one_sensor_alone():
    from tiny_detectors import FCOS

    config = dict(FCOS, stacked_convs=0)
    detector = make_detector(SENSORS, fusion="MedianFusion", view_head=config)
    packed = detector.data_preprocessor(make_batch())
    detector.parse_losses(detector(**packed, mode="loss"))[0].backward()
    assert detector.view_head.conv_cls.weight.grad.abs().sum() > 0
    assert detector.bbox_head.conv_cls.weight.grad is None


def test_errors():
    with pytest.raises(ValueError, match="at least three sensors"):
        neck(sensors=SENSORS[:2])
    with pytest.raises(ValueError, match="margins must not be negative"):
        neck(margin=-1.0)


def test_attacks_reach_each_view_and_the_fused_prediction():
    detector = make_detector(
        SENSORS, fusion="MedianFusion", fused=dict(type="OddOneOutFusion")
    )
    batch = prepare_batch(detector, make_batch())
    threat = dict(type="MapThreat", sensor="thermal", eps=50.0, steps=2)
    adaptive = build_attack(
        "a", dict(type="Adaptive", search=dict(type="PGD"), threat=threat, weights=(1,))
    )
    with frozen(detector):
        victim = Victim(detector, batch, ("thermal",))
        goals = adaptive.goals(victim)
        assert {"detection|view", "detection|fused"} <= set(goals)
        pyramids = detector.extract_branches(batch.inputs)
        fused = detector.fuse(pyramids)
        for part in (None, "thermal", "fused"):
            outputs = detector.head_outputs(fused, part)
            assert outputs[0][0].shape == (1, 2, 8, 16)
        view = detector.head_outputs(fused, "thermal")
        assert torch.equal(view[0][0], fused.views[0][0][0])
        losses = detector.frame_losses(fused, batch.samples, "thermal")
        assert not torch.equal(losses, detector.frame_losses(fused, batch.samples))
        with pytest.raises(ValueError, match="no part 'nose'"):
            detector.head_outputs(fused, "nose")
    plain = make_detector(SENSORS)
    with frozen(plain), pytest.raises(ValueError, match="no part 'thermal'"):
        victim = Victim(plain, prepare_batch(plain, make_batch()), ("thermal",))
        victim.objective({"thermal": batch.inputs["thermal"]}, Goal.parse("hide|view"))


def test_where_a_view_lies_beyond_the_others_only_the_view_has_a_gradient():
    views = [outputs(x, x) for x in (0.0, 1.0)]
    said = torch.tensor(5.0, requires_grad=True)
    beyond = tuple([level * 0 + said] for (level,) in views[0])
    combined = neck().combine(None, seen([*views, beyond]))
    assert values(combined) == (1.0, 1.0)
    (gradient,) = torch.autograd.grad(combined[0][0].sum(), said, allow_unused=True)
    assert gradient is None or gradient == 0
