"""What is safe to say whoever lies: by hand, its certificate, and in a detector."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_detectors import NAMES, make_batch, make_detector, make_sample

from perception.attacks import Adaptive, build_attack, prepare_batch
from perception.attacks.goals import Goal
from perception.attacks.objectives import Victim, frozen
from perception.models.consensus.intervals import (
    as_levels,
    in_one_row,
    safe_range,
    trusted_range,
)
from perception.models.fusion import ConsensusFusion, FusionOutput
from perception.models.heads.outputs import worst_within

SENSORS = NAMES[:3]


def neck(sensors=SENSORS, **changes) -> ConsensusFusion:
    torch.manual_seed(0)
    arguments = dict(sensors=sensors, in_channels=2, num_levels=1, out_channels=2)
    made = ConsensusFusion(**arguments | changes).eval()
    made.mean[:, 0] = math.log(0.05)  # scores of honest sensors are 0.05 apart
    return made


def said(*logits: float):
    """One frame per number: a class logit of one location, and a box of it."""
    values = torch.tensor(logits)[:, None, None, None]
    return ([values], [values])


def numbers(*rows: float):
    return torch.tensor(rows)[:, None, None, None, None]


@pytest.mark.parametrize(
    "views, experts, suspects, expected",
    [
        ((-3.0, 1.0, 0.5), (0.8, -1.0, 4.0), None, (0.5, 0.5)),  # but the median
        ((1.0, 1.5, 2.0), (3.0, 3.0, 3.0), None, (1.5, 3.0)),  # experts see more
        ((1.0, 1.5, 2.0), (3.0, 0.0, 3.0), None, (1.5, 2.0)),
        ((1.0, 1.5, 2.0), (3.0, 3.0, 0.0), (True, True, False), (2.0, 3.0)),
        ((1.0, 1.5, 2.0), (3.0, 1.0, 0.0), (True, True, False), (2.0, 2.0)),
    ],
    ids=["median", "beyond", "one expert less", "third cleared", "cleared alone"],
)
def test_range_by_hand(views, experts, suspects, expected):
    who = None if suspects is None else torch.tensor([suspects])
    low, high = safe_range(numbers(*views), numbers(*experts), who)
    assert (low.item(), high.item()) == expected


@pytest.mark.parametrize(
    "views, experts, lift, expected",
    [
        # The first hides an object that the third does not see by itself.
        ((-3.0, 1.0, -2.0), (1.5, -3.0, -3.0), 2.0, (0.0, 0.0)),
        ((-3.0, 1.0, -2.0), (1.5, -3.0, -3.0), 9.0, (1.5, 1.5)),
        # The second makes one up: it gets no more than that above an honest view.
        ((-4.0, 6.0, -3.0), (6.0, -4.0, 6.0), 2.0, (-1.0, -1.0)),
        ((1.0, 1.5, 2.0), (3.0, 3.0, 3.0), 1.0, (2.5, 3.0)),
    ],
    ids=["hidden", "found", "made up", "agreed"],
)
def test_lifted_range_by_hand(views, experts, lift, expected):
    low, high = safe_range(numbers(*views), numbers(*experts), lift=lift)
    assert (low.item(), high.item()) == expected


@pytest.mark.parametrize(
    "views, experts, pull, expected",
    [
        # The second view is far too long; the expert without the third knows better.
        ((12.0, 20.0, 8.0), (30.0, 30.0, 10.0), 0.0, (10.0, 20.0)),
        ((12.0, 20.0, 8.0), (30.0, 30.0, 10.0), 0.25, (10.0, 15.0)),
        # Ends of 12 and 10 cross and meet at 11, which is beyond the range of 8 to 10.
        ((8.0, 8.0, 20.0), (12.0, 8.0, 10.0), 0.5, (10.0, 10.0)),
        ((8.0, 8.0, 12.0), (6.0, 6.0, 12.0), 0.5, (9.0, 9.0)),  # at 12 and 6
        ((10.0, 10.0, 10.0), (10.0, 10.0, 10.0), 0.5, (10.0, 10.0)),
    ],
    ids=["not", "from above", "crossed beyond", "crossed", "agreed"],
)
def test_pulled_range_by_hand(views, experts, pull, expected):
    low, high = safe_range(numbers(*views), numbers(*experts), pull=pull)
    assert (low.item(), high.item()) == pytest.approx(expected)


@given(
    views=st.lists(st.floats(-9, 9), min_size=3, max_size=6),
    experts=st.lists(st.floats(-9, 9), min_size=6, max_size=6),
    pull=st.floats(0, 1),
)
def test_pulling_leaves_a_part_of_the_range(views, experts, pull):
    said = numbers(*views), numbers(*experts[: len(views)])
    low, high = safe_range(*said)
    inner, outer = safe_range(*said, pull=pull)
    assert low <= inner <= outer <= high


@pytest.mark.parametrize(
    "wrong", [dict(lift=-1.0), dict(lift=math.inf), dict(box_pull=1.5)]
)
def test_settings_that_cannot_be_meant(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        neck(**wrong)


def test_training_lifts_and_pulls_nothing():
    """A hidden object, (-3, 1, -2) with an expert of 1.5, is told as -2 in training."""
    settings = dict(lift=2.0, box_pull=0.5, doubt_at=1e9, blame_at=1e9)
    views = [said(x) for x in (-3.0, 1.0, -2.0)]
    experts = [said(x) for x in (1.5, -3.0, -3.0, -3.0)]
    levels = [[torch.zeros(1, 2, 1, 1) for _ in SENSORS]]
    told = {}
    for training in (False, True):
        made = neck(**settings)
        output = made.fuse(levels, views, experts)
        made.train(training)
        low, high = made.bounds(output, liar=0)
        told[training] = [
            x[0][0].item() for x in (made.combine(None, output), low, high)
        ]
    assert told[False] == [0.0, 0.0, 3.0]
    assert told[True] == [-2.0, -2.0, 1.5]


def test_levels_in_one_row_and_back():
    levels = [torch.rand(3, 2, 5, 4, 6), torch.rand(3, 2, 5, 2, 3)]
    row = in_one_row(levels)
    assert row.shape == (3, 2, 5, 4 * 6 + 2 * 3, 1)
    for level, again in zip(levels, as_levels(row[1], levels), strict=True):
        assert torch.equal(again, level[1])


def test_suspects_are_the_two_that_contradict_each_other_most():
    made = neck(blame_at=1.0, doubt_at=1.0)
    apart = torch.tensor([[0.5, 0.2, 0.9], [0.5, 1.2, 0.9], [1.5, 0.2, 1.6]])
    assert made._suspects(apart).tolist() == [
        [True, True, True],
        [True, False, True],
        [False, True, True],
    ]


@settings(max_examples=200)
@given(
    count=st.integers(3, 5),
    liar=st.integers(0, 4),
    lie=st.lists(st.floats(-50, 50) | st.just(math.nan), min_size=7, max_size=7),
    margin=st.floats(0, 2),
    lift=st.sampled_from([0.0, 0.1, 0.5, 3.0]),
    pull=st.sampled_from([0.0, 0.2, 1.0]),
    seed=st.integers(0, 1000),
)
def test_bounds_hold_whatever_one_sensor_says(
    count, liar, lie, margin, lift, pull, seed
):
    """It may say anything by itself, and through every expert that sees it."""
    generator = torch.Generator().manual_seed(seed)
    sensors = [f"sensor_{i}" for i in range(count)]
    margins = dict(margin=margin, box_margin=0.1, lift=lift, box_pull=pull)
    made = neck(sensors=sensors, doubt_at=1.5, **margins)
    clean = torch.randn(2, count + 1, generator=generator) / 4
    liar %= count
    views = [said(x) for x in clean[0, :count].tolist()]
    experts = [said(x) for x in clean[1].tolist()]
    levels = [[torch.zeros(1, 2, 1, 1) for _ in sensors]]
    low, high = made.bounds(made.fuse(levels, views, experts), liar)
    views[liar] = said(lie[-1])
    experts = [x if i == liar else said(lie[i]) for i, x in enumerate(experts)]
    output = made.fuse(levels, views, experts)
    for kind in (0, 1):
        answer = made.combine(None, output)[kind][0]
        if output.blamed.item() in (liar, count):
            assert low[kind][0] - 1e-4 <= answer <= high[kind][0] + 1e-4
        else:
            assert low[kind][0] == -math.inf and high[kind][0] == math.inf


@given(
    views=st.lists(st.floats(-9, 9), min_size=3, max_size=6),
    experts=st.lists(st.floats(-9, 9), min_size=6, max_size=6),
)
def test_the_median_is_always_safe(views, experts):
    low, high = safe_range(numbers(*views), numbers(*experts[: len(views)]))
    inner_low, inner_high = trusted_range(numbers(*views))
    assert low <= inner_low <= high and low <= inner_high <= high


def test_what_is_said_in_each_state_of_a_frame():
    made = neck(margin=0.5, box_margin=0.5)
    output = FusionOutput(
        (),
        views=(said(0.0, 0.0, 0.0), said(1.0, 1.0, 1.0), said(2.0, 2.0, 2.0)),
        experts=tuple(said(x, x, x) for x in (4.0, 5.0, 6.0, 9.0)),
        blamed=torch.tensor([3, 3, 1]),
        doubt=torch.tensor([-1.0, 1.0, 1.0]),
    )
    logits, boxes = (kind[0].flatten().tolist() for kind in made.combine(None, output))
    assert logits == [4.5, 4.0, 5.0] and boxes == [6.0, 4.0, 5.0]


def test_training_for_the_worst_case():
    """Gradients reach everything; the worst case is no better than the case at hand."""
    detector = make_detector(SENSORS, fusion="ConsensusFusion", loss_weight=0.5)
    batch = make_batch([make_sample(), make_sample(odd_sensor="radar")])
    packed = detector.data_preprocessor(batch)
    losses = detector(**packed, mode="loss")
    expected = {"view_loss_cls", "expert_loss_cls", "worst_loss_cls", "loss_cls"}
    assert expected <= set(losses) and "attacked_worst_loss_cls" not in losses
    assert losses["worst_loss_cls"] >= losses["loss_cls"]
    detector.parse_losses(losses)[0].backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    detector.fusion.worst_loss_weight = 0.0
    assert "worst_loss_cls" not in detector(**packed, mode="loss")


def test_worst_within_by_hand():
    """Of one location per class: down where there is an object, up where not."""
    detector = make_detector(SENSORS, fusion="ConsensusFusion")
    batch = make_batch([make_sample()])
    packed = detector.data_preprocessor(batch)
    with detector.for_losses(), torch.no_grad():
        fused = detector.fuse(detector.extract_branches(packed["inputs"]))
        outputs = detector.head_outputs(fused)
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
    detector = make_detector(SENSORS, fusion="ConsensusFusion").eval()
    packed = detector.data_preprocessor(make_batch())
    inputs = packed["inputs"]
    mad = inputs | {SENSORS[1]: torch.full_like(inputs[SENSORS[1]], math.nan)}
    with torch.no_grad():
        outputs = detector.head_outputs(detector.fuse(detector.extract_branches(mad)))
        assert all(x.isfinite().all() for kind in outputs for x in kind)
        with detector.fusion.blaming(SENSORS[1]):
            fused = detector.fuse(detector.extract_branches(mad))
            told = detector.head_outputs(fused)
        expert = detector.head_outputs(fused, f"without:{SENSORS[1]}")
    for kind, alone in zip(told, expert, strict=True):
        for level, same in zip(kind, alone, strict=True):
            assert torch.equal(level, same) and level.isfinite().all()
    with pytest.raises(ValueError, match="no part 'without:nose'"):
        detector.head_outputs(fused, "without:nose")


def test_an_attacker_reaches_all_that_is_chosen_from():
    """Through the view and every expert that sees the sensor, and through no other."""
    detector = make_detector(SENSORS, fusion="ConsensusFusion")
    batch = prepare_batch(detector, make_batch())
    threat = dict(type="MapThreat", sensor="thermal", eps=50.0, steps=2)
    adaptive = build_attack(
        "a", dict(type="Adaptive", search=dict(type="PGD"), threat=threat, weights=(1,))
    )
    assert isinstance(adaptive, Adaptive)
    with frozen(detector), torch.no_grad():
        victim = Victim(detector, batch, ("thermal",))
        assert "detection|parts" in adaptive.goals(victim)
        fused = detector.fuse(detector.extract_branches(batch.inputs))
        of_parts = [
            detector.frame_losses(fused, batch.samples, part)
            for part in ("thermal", "fused", "without:radar", "without:sonar")
        ]
        image = {"thermal": batch.inputs["thermal"]}
        together = victim.objective(image, Goal.parse("detection|parts"))
    torch.testing.assert_close(together, torch.stack(of_parts).mean(dim=0))
