"""What is safe to say whoever is compromised: by hand, certified, in a detector."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_detectors import (
    CONSENSUS,
    EXPERTS,
    NAMES,
    Said,
    make_batch,
    make_detector,
    make_sample,
)

from perception.attacks import Adaptive, build_attack
from perception.attacks.goals import Goal
from perception.attacks.victim import Query, Victim
from perception.core.parts import BranchPrediction, ExpertPrediction, LeaveOut
from perception.models import ConsensusAggregator
from perception.models.consensus.gate import Verdict
from perception.models.consensus.intervals import (
    as_levels,
    consensus_interval,
    in_one_row,
    median_interval,
)
from perception.models.heads.losses import worst_within
from perception.models.modes import frozen
from perception.targets import DetectorTarget

SENSORS = NAMES[:3]
NEVER = dict(attribution_threshold=1e9, alarm_threshold=1e9)


def aggregator(sensors=SENSORS, **changes) -> ConsensusAggregator:
    made = ConsensusAggregator(sensors=sensors, **changes).eval()
    made.gate.mean[:, 0] = math.log(0.05)  # scores of benign sensors are 0.05 apart
    return made


def said(*logits: float):
    """One frame per number: a class logit of one location, and a box of it."""
    values = torch.tensor(logits)[:, None, None, None]
    return ([values], [values])


def numbers(*rows: float):
    return torch.tensor(rows)[:, None, None, None, None]


@pytest.mark.parametrize(
    "branches, experts, suspects, expected",
    [
        ((-3.0, 1.0, 0.5), (0.8, -1.0, 4.0), None, (0.5, 0.5)),  # but the median
        ((1.0, 1.5, 2.0), (3.0, 3.0, 3.0), None, (1.5, 3.0)),  # experts see more
        ((1.0, 1.5, 2.0), (3.0, 0.0, 3.0), None, (1.5, 2.0)),
        ((1.0, 1.5, 2.0), (3.0, 3.0, 0.0), (True, True, False), (2.0, 3.0)),
        ((1.0, 1.5, 2.0), (3.0, 1.0, 0.0), (True, True, False), (2.0, 2.0)),
    ],
    ids=["median", "beyond", "one expert less", "third cleared", "cleared alone"],
)
def test_interval_by_hand(branches, experts, suspects, expected):
    who = None if suspects is None else torch.tensor([suspects])
    low, high = consensus_interval(numbers(*branches), numbers(*experts), who)
    assert (low.item(), high.item()) == expected


@pytest.mark.parametrize(
    "branches, experts, slack, expected",
    [
        # The first hides an object that the third does not see by itself.
        ((-3.0, 1.0, -2.0), (1.5, -3.0, -3.0), 2.0, (0.0, 0.0)),
        ((-3.0, 1.0, -2.0), (1.5, -3.0, -3.0), 9.0, (1.5, 1.5)),
        # The second makes one up: it gets no more than that above a benign branch.
        ((-4.0, 6.0, -3.0), (6.0, -4.0, 6.0), 2.0, (-1.0, -1.0)),
        ((1.0, 1.5, 2.0), (3.0, 3.0, 3.0), 1.0, (2.5, 3.0)),
    ],
    ids=["hidden", "found", "made up", "agreed"],
)
def test_interval_with_slack_by_hand(branches, experts, slack, expected):
    low, high = consensus_interval(numbers(*branches), numbers(*experts), slack=slack)
    assert (low.item(), high.item()) == expected


@pytest.mark.parametrize(
    "branches, experts, contraction, expected",
    [
        # The second branch is far too long; the expert without the third knows better.
        ((12.0, 20.0, 8.0), (30.0, 30.0, 10.0), 0.0, (10.0, 20.0)),
        ((12.0, 20.0, 8.0), (30.0, 30.0, 10.0), 0.25, (10.0, 15.0)),
        # Ends of 12 and 10 cross and meet at 11, which is beyond the range of 8 to 10.
        ((8.0, 8.0, 20.0), (12.0, 8.0, 10.0), 0.5, (10.0, 10.0)),
        ((8.0, 8.0, 12.0), (6.0, 6.0, 12.0), 0.5, (9.0, 9.0)),  # at 12 and 6
        ((10.0, 10.0, 10.0), (10.0, 10.0, 10.0), 0.5, (10.0, 10.0)),
    ],
    ids=["not", "from above", "crossed beyond", "crossed", "agreed"],
)
def test_contracted_interval_by_hand(branches, experts, contraction, expected):
    low, high = consensus_interval(
        numbers(*branches), numbers(*experts), contraction=contraction
    )
    assert (low.item(), high.item()) == pytest.approx(expected)


@given(
    branches=st.lists(st.floats(-9, 9), min_size=3, max_size=6),
    experts=st.lists(st.floats(-9, 9), min_size=6, max_size=6),
    contraction=st.floats(0, 1),
)
def test_contraction_leaves_a_part_of_the_interval(branches, experts, contraction):
    said = numbers(*branches), numbers(*experts[: len(branches)])
    low, high = consensus_interval(*said)
    inner, outer = consensus_interval(*said, contraction=contraction)
    assert low <= inner <= outer <= high


@pytest.mark.parametrize(
    "wrong",
    [dict(logit_slack=-1.0), dict(logit_slack=math.inf), dict(box_contraction=1.5)],
)
def test_settings_that_cannot_be_meant(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        aggregator(**wrong)


def test_training_knows_neither_slack_nor_contraction():
    """A hidden object, (-3, 1, -2) with an expert of 1.5, is told as -2 in training."""
    made = aggregator(logit_slack=2.0, box_contraction=0.5, gate=NEVER)
    all_said = Said(
        [said(x) for x in (-3.0, 1.0, -2.0)], [said(x) for x in (1.5, -3.0, -3.0, -3.0)]
    )
    verdict = made.judge(all_said.branches)
    told = {}
    for training in (False, True):
        made.train(training)
        low, high = made.bounds(all_said, 0)
        answers = made.combine(verdict, all_said), low, high
        told[training] = [x[0][0].item() for x in answers]
    assert told[False] == [0.0, 0.0, 3.0]
    assert told[True] == [-2.0, -2.0, 1.5]


def test_levels_in_one_row_and_back():
    levels = [torch.rand(3, 2, 5, 4, 6), torch.rand(3, 2, 5, 2, 3)]
    row = in_one_row(levels)
    assert row.shape == (3, 2, 5, 4 * 6 + 2 * 3, 1)
    for level, again in zip(levels, as_levels(row[1], levels), strict=True):
        assert torch.equal(again, level[1])


@settings(max_examples=200)
@given(
    count=st.integers(3, 5),
    compromised=st.integers(0, 4),
    lie=st.lists(st.floats(-50, 50) | st.just(math.nan), min_size=7, max_size=7),
    margin=st.floats(0, 2),
    slack=st.sampled_from([0.0, 0.1, 0.5, 3.0]),
    contraction=st.sampled_from([0.0, 0.2, 1.0]),
    seed=st.integers(0, 1000),
)
def test_bounds_hold_whatever_one_sensor_says(
    count, compromised, lie, margin, slack, contraction, seed
):
    """It may say anything by itself, and through every expert that sees it."""
    generator = torch.Generator().manual_seed(seed)
    made = aggregator(
        [f"sensor_{i}" for i in range(count)],
        margin=margin,
        box_margin=0.1,
        logit_slack=slack,
        box_contraction=contraction,
        gate=dict(alarm_threshold=1.5),
    )
    clean = torch.randn(2, count + 1, generator=generator) / 4
    compromised %= count
    branches = [said(x) for x in clean[0, :count].tolist()]
    experts = [said(x) for x in clean[1].tolist()]
    low, high = made.bounds(Said(branches, experts), compromised)
    branches[compromised] = said(lie[-1])
    experts = [x if i == compromised else said(lie[i]) for i, x in enumerate(experts)]
    verdict = made.judge(branches)
    answers = made.combine(verdict, Said(branches, experts))
    for kind, (answer,) in enumerate(answers):
        if verdict.attributed.item() in (compromised, count):
            assert low[kind][0] - 1e-4 <= answer <= high[kind][0] + 1e-4
        else:
            assert low[kind][0] == -math.inf and high[kind][0] == math.inf


@given(
    branches=st.lists(st.floats(-9, 9), min_size=3, max_size=6),
    experts=st.lists(st.floats(-9, 9), min_size=6, max_size=6),
)
def test_the_median_is_always_safe(branches, experts):
    low, high = consensus_interval(
        numbers(*branches), numbers(*experts[: len(branches)])
    )
    inner_low, inner_high = median_interval(numbers(*branches))
    assert low <= inner_low <= high and low <= inner_high <= high


def test_what_is_said_in_each_state_of_a_frame():
    made = aggregator(margin=0.5, box_margin=0.5)
    branches = [said(x, x, x) for x in (0.0, 1.0, 2.0)]
    experts = [said(x, x, x) for x in (4.0, 5.0, 6.0, 9.0)]
    verdict = Verdict(torch.tensor([3, 3, 1]), alarm=torch.tensor([-1.0, 1.0, 1.0]))
    combined = made.combine(verdict, Said(branches, experts))
    logits, boxes = (kind[0].flatten().tolist() for kind in combined)
    assert logits == [4.5, 4.0, 5.0] and boxes == [6.0, 4.0, 5.0]


def consensus_detector(**changes):
    return make_detector(SENSORS, **EXPERTS, aggregator=CONSENSUS | changes)


def test_training_for_the_worst_case():
    """Gradients reach everything; the worst case is no better than the case at hand."""
    samples = [make_sample(), make_sample(odd_sensor="radar")]
    gate = dict(loss_weight=0.5)
    detector = consensus_detector(gate=gate)
    packed = detector.data_preprocessor(make_batch(samples))
    losses = detector(**packed, mode="loss")
    expected = {"branch_loss_cls", "expert_loss_cls", "worst_loss_cls", "loss_cls"}
    assert expected <= set(losses) and "attacked_worst_loss_cls" not in losses
    assert losses["worst_loss_cls"] >= losses["loss_cls"]
    detector.parse_losses(losses)[0].backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    detector = consensus_detector(gate=gate, worst_loss_weight=0.0)
    assert "worst_loss_cls" not in detector(**packed, mode="loss")


def test_worst_within_by_hand():
    """Of one location per class: down where there is an object, up where not."""
    detector = consensus_detector()
    packed = detector.data_preprocessor(make_batch([make_sample()]))
    with detector.for_losses(), torch.no_grad():
        outputs = detector.fuse(detector.extract_feat(packed["inputs"])).outputs
        low = tuple([x - 1 for x in kind] for kind in outputs)
        high = tuple([x + 1 for x in kind] for kind in outputs)
        samples = packed["data_samples"]
        head = detector.bbox_head
        (worst,) = worst_within(head, outputs, [(low, high)], samples, [0])
        sizes = [x.shape[-2:] for x in outputs[0]]
        points = head.prior_generator.grid_priors(sizes, device="cpu")
        truth = samples[0].gt_instances
        labels, _ = head.get_targets(points, [truth])
    for level, target, said_, up in zip(
        worst[0], labels, outputs[0], high[0], strict=True
    ):
        moved = (level - said_).flatten(2)[0].T  # (L, K)
        positive = torch.nn.functional.one_hot(target, head.num_classes + 1)[:, :-1]
        assert torch.equal(moved.sign(), 1.0 - 2.0 * positive), (level, up)


def test_detector_with_a_sensor_gone_mad():
    detector = consensus_detector().eval()
    packed = detector.data_preprocessor(make_batch())
    inputs = packed["inputs"]
    mad = inputs | {SENSORS[1]: torch.full_like(inputs[SENSORS[1]], math.nan)}
    with torch.no_grad():
        pyramids = detector.extract_feat(mad)
        outputs = detector.fuse(pyramids).outputs
        assert all(x.isfinite().all() for kind in outputs for x in kind)
        told = detector.fuse(pyramids, LeaveOut(SENSORS[1]))
        expert = told.part(ExpertPrediction(SENSORS[1]))
    for kind, alone in zip(told.outputs, expert, strict=True):
        for level, same in zip(kind, alone, strict=True):
            assert torch.equal(level, same) and level.isfinite().all()
    with pytest.raises(ValueError, match=r"combines no ExpertPrediction.*nose"):
        told.part(ExpertPrediction("nose"))


def test_an_attacker_reaches_all_that_is_chosen_from():
    """Through the branch and every expert that sees the sensor, and no other."""
    detector = consensus_detector()
    detector.dataset_meta = {"classes": ("a", "b")}
    target = DetectorTarget(detector)
    batch = target.batch(make_batch())
    threat = dict(type="MapThreat", sensor="thermal", eps=50.0, steps=2)
    adaptive = build_attack(
        "a", dict(type="Adaptive", search=dict(type="PGD"), threat=threat, weights=(1,))
    )
    assert isinstance(adaptive, Adaptive)
    experts = (ExpertPrediction(name) for name in (None, "radar", "sonar"))
    with frozen(detector), torch.no_grad():
        victim = Victim(target, batch, ("thermal",))
        assert "detection|parts" in map(str, adaptive.goals(victim))
        output = detector.fuse(detector.extract_feat(batch.inputs))
        of_parts = [
            detector.frame_losses(output, batch.samples, part)
            for part in (BranchPrediction("thermal"), *experts)
        ]
        image = {"thermal": batch.inputs["thermal"]}
        together = Goal.parse("detection|parts").value(Query(victim, image))
    torch.testing.assert_close(together, torch.stack(of_parts).mean(dim=0))
