"""The median of predictions: by hand, its certificate, and in a detector."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_detectors import (
    FCOS,
    MEDIAN,
    NAMES,
    Said,
    make_batch,
    make_detector,
    make_sample,
)

from perception.attacks import build_attack
from perception.attacks.goals import Goal
from perception.attacks.target import DoesNotApplyError
from perception.attacks.victim import Query, Victim
from perception.core.parts import BranchPrediction, ExpertPrediction, LeaveOut
from perception.models import MedianAggregator
from perception.models.consensus.gate import Verdict
from perception.models.modes import frozen
from perception.targets import DetectorTarget

SENSORS = NAMES[:3]


def median(sensors=SENSORS, **changes) -> MedianAggregator:
    return MedianAggregator(sensors=sensors, **changes)


def outputs(logit: float, box: float):
    """One location of one level: a class logit and a side of a box."""
    return ([torch.full((1, 1, 1, 1), logit)], [torch.full((1, 1, 1, 1), box)])


def combined(made, branches, fused=None, left_out=None) -> tuple[float, float]:
    logits, boxes = made.combine(Verdict(left_out), Said(branches, fused=fused))
    return logits[0].item(), boxes[0].item()


BRANCHES = [outputs(-3.0, 8.0), outputs(1.0, 2.0), outputs(0.5, 4.0)]


def test_median_by_hand():
    assert combined(median(), BRANCHES) == (0.5, 4.0)


def test_four_sensors_keep_the_middle_two():
    branches = [outputs(x, 10 * x) for x in (4.0, 1.0, 100.0, 2.0)]
    four = median(sensors=NAMES)
    assert combined(four, branches) == (3.0, 30.0)
    assert combined(four, branches, outputs(3.5, 50.0)) == (3.5, 40.0)


@pytest.mark.parametrize(
    "said, kept",
    [((2.0, 4.25), (2.0, 4.25)), ((9.0, 9.0), (2.5, 5.0)), ((-9.0, 0.0), (-1.5, 3.0))],
    ids=["within", "above", "below"],
)
def test_a_richer_prediction_stays_near_the_median(said, kept):
    made = median(margin=2.0, box_margin=0.25)
    assert combined(made, BRANCHES, outputs(*said)) == kept


def test_a_compromised_sensor_is_left_out():
    made = median()
    assert made.judge(BRANCHES) == Verdict()
    told = made.judge(BRANCHES, torch.tensor([1])).attributed
    assert combined(made, BRANCHES, left_out=told) == (-1.25, 6.0)
    assert combined(made, BRANCHES, left_out=torch.tensor([3])) == (0.5, 4.0)


@given(
    count=st.integers(3, 6),
    compromised=st.integers(0, 5),
    lie=st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf]),
    margin=st.floats(0, 5),
    seed=st.integers(0, 1000),
)
def test_certificate_whatever_one_sensor_says(count, compromised, lie, margin, seed):
    generator = torch.Generator().manual_seed(seed)
    said = torch.randn(count, generator=generator).tolist()
    compromised %= count
    made = median([f"sensor_{i}" for i in range(count)], margin=margin, box_margin=0.1)
    branches = [outputs(x, x) for x in said]
    bounds = made.bounds(Said(branches), compromised)
    branches[compromised] = outputs(lie, -lie)
    logit, box = combined(made, branches, outputs(lie, lie))
    benign = [x for i, x in enumerate(said) if i != compromised]
    low, high = min(benign), max(benign)
    assert low - margin - 1e-5 <= logit <= high + margin + 1e-5
    assert low - 0.1 * abs(low) - 1e-5 <= box <= high + 0.1 * abs(high) + 1e-5
    for value, (lowest,), (highest,) in zip((logit, box), *bounds, strict=True):
        assert lowest.item() - 1e-5 <= value <= highest.item() + 1e-5


def test_a_sensor_that_delivers_nan_leads_nothing_astray():
    """From its raw input to the detector's outputs."""
    detector = make_detector(
        SENSORS, fusion="OddOneOutFusion", aggregator=MEDIAN
    ).eval()
    inputs = detector.data_preprocessor(make_batch())["inputs"]
    with torch.no_grad():
        _, *benign = detector.fuse(detector.extract_feat(inputs)).branches
        nan = torch.full_like(inputs[SENSORS[0]], math.nan)
        changed = detector(inputs | {SENSORS[0]: nan}, mode="tensor")
    for a, b, said in zip(benign[0][0], benign[1][0], changed[0], strict=True):
        assert (said >= torch.minimum(a, b) - 1e-5).all()
        assert (said <= torch.maximum(a, b) + 1e-5).all()


@pytest.mark.parametrize("fusion", [None, "OddOneOutFusion"])
def test_detector_trains_and_no_sensor_moves_an_output_beyond_the_others(fusion):
    margin = 1.0 if fusion else 0.0
    aggregator = MEDIAN | {"margin": margin}
    detector = make_detector(SENSORS, fusion=fusion, aggregator=aggregator)
    batch = make_batch([make_sample(), make_sample(odd_sensor="radar")])
    packed = detector.data_preprocessor(batch)
    losses = detector(**packed, mode="loss")
    assert {"branch_loss_cls", "attacked_branch_loss_cls"} <= set(losses)
    assert ("loss_odd_one_out" in losses) == (fusion is not None)
    detector.parse_losses(losses)[0].backward()
    for name, parameter in detector.branches.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name

    detector.eval()
    inputs = packed["inputs"]
    with torch.no_grad():
        benign = detector.fuse(detector.extract_feat(inputs)).branches[1:]
        lied = inputs | {SENSORS[0]: 1e4 * torch.randn_like(inputs[SENSORS[0]])}
        changed = detector(lied, mode="tensor")
    for a, b, said in zip(benign[0][0], benign[1][0], changed[0], strict=True):
        assert (said >= torch.minimum(a, b) - margin - 1e-4).all()
        assert (said <= torch.maximum(a, b) + margin + 1e-4).all()


def test_gate_of_the_fusion_is_the_detectors():
    detector = make_detector(
        SENSORS, fusion="OddOneOutFusion", gate="spatial", aggregator=MEDIAN
    ).eval()
    assert detector.has_gate and detector.aggregator.gate is None
    (sample,) = detector.test_step(make_batch())
    assert sample.gate.shape == (4,)
    packed = detector.data_preprocessor(make_batch())
    with torch.no_grad():  # the fusion is told as well: its gate is not asked
        pyramids = detector.extract_feat(packed["inputs"])
        told = detector.fuse(pyramids, LeaveOut(SENSORS[0]))
        assert told.gate_logits is None and told.attributed.tolist() == [0]
        expert = told.fused
        torch.testing.assert_close(expert[0][0], told.experts[0][0][0])
    assert not make_detector(SENSORS, fusion=None, aggregator=MEDIAN).has_gate


def test_branch_head_detects_with_one_sensor_alone():
    config = dict(FCOS, stacked_convs=0)
    detector = make_detector(
        SENSORS, fusion=None, aggregator=MEDIAN, branch_head=config
    )
    packed = detector.data_preprocessor(make_batch())
    detector.parse_losses(detector(**packed, mode="loss"))[0].backward()
    assert detector.branch_head.conv_cls.weight.grad.abs().sum() > 0
    assert detector.bbox_head.conv_cls.weight.grad is None


def test_errors():
    with pytest.raises(ValueError, match="at least three sensors"):
        median(sensors=SENSORS[:2])
    with pytest.raises(ValueError, match="margins must not be negative"):
        median(margin=-1.0)


def test_attacks_reach_each_branch_and_the_fused_prediction():
    detector = make_detector(SENSORS, fusion="OddOneOutFusion", aggregator=MEDIAN)
    detector.dataset_meta = {"classes": ("a", "b")}
    target = DetectorTarget(detector)
    batch = target.batch(make_batch())
    threat = dict(type="MapThreat", sensor="thermal", eps=50.0, steps=2)
    adaptive = build_attack(
        "a", dict(type="Adaptive", search=dict(type="PGD"), threat=threat, weights=(1,))
    )
    branch, fused = BranchPrediction("thermal"), ExpertPrediction(None)
    with frozen(detector):
        goals = adaptive.goals(Victim(target, batch, ("thermal",)))
        assert {"detection|branch", "detection|fused"} <= set(map(str, goals))
        output = detector.fuse(detector.extract_feat(batch.inputs))
        assert {branch, fused} < set(output.parts)
        for said in (output.outputs, output.part(branch), output.part(fused)):
            assert said[0][0].shape == (1, 2, 8, 16)
        assert torch.equal(output.part(branch)[0][0], output.branches[0][0][0])
        losses = detector.frame_losses(output, batch.samples, branch)
        assert not torch.equal(losses, detector.frame_losses(output, batch.samples))
        for part in (BranchPrediction("nose"), ExpertPrediction("thermal")):
            with pytest.raises(ValueError, match="combines no"):
                output.part(part)
    plain = make_detector(SENSORS)
    plain.dataset_meta = {"classes": ("a", "b")}
    target = DetectorTarget(plain)
    image = {"thermal": batch.inputs["thermal"]}
    with frozen(plain), pytest.raises(DoesNotApplyError, match="no part"):
        victim = Victim(target, target.batch(make_batch()), ("thermal",))
        Goal.parse("hide|branch").value(Query(victim, image))


def test_where_a_branch_lies_beyond_the_others_only_the_branch_has_a_gradient():
    said = torch.tensor(5.0, requires_grad=True)
    beyond = tuple([level * 0 + said] for (level,) in outputs(0.0, 0.0))
    branches = [outputs(0.0, 0.0), outputs(1.0, 1.0), beyond]
    logits, boxes = median().combine(Verdict(), Said(branches))
    assert (logits[0].item(), boxes[0].item()) == (1.0, 1.0)
    (gradient,) = torch.autograd.grad(logits[0].sum(), said, allow_unused=True)
    assert gradient is None or gradient == 0
