"""The gate that compares predictions: by hand, its certificate, and in a detector."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_detectors import (
    AGREEMENT,
    EXPERTS,
    NAMES,
    Said,
    make_batch,
    make_detector,
    make_sample,
)

from perception.core.parts import LeaveOut
from perception.models import MedianAggregator
from perception.models.consensus.gate import Verdict, contradictions
from perception.models.consensus.intervals import median_interval

SENSORS = NAMES[:3]


def aggregator(sensors=SENSORS, margin=0.0, **gate) -> MedianAggregator:
    return MedianAggregator(sensors=sensors, gate=gate, margin=margin).eval()


def branch(*probabilities: float):
    """One frame per probability: a class score of one location, and a box of 1."""
    scores = torch.tensor(probabilities)[:, None, None, None]
    return ([scores.logit()], [torch.ones_like(scores)])


def calibrated(distance=0.01, **changes) -> MedianAggregator:
    """Scores of benign sensors are 0.01 apart, or a factor e more or less."""
    made = aggregator(**changes)
    made.gate.mean[:, 0] = math.log(distance)
    return made


def of_logits(*logits):
    """One frame whose two classes have these logits at the only location."""
    return ([torch.tensor(logits)[None, :, None, None]], [torch.ones(1, 1, 1, 1)])


def test_contradictions_by_hand():
    branches = [of_logits(1.0, -1.0), of_logits(3.0, 1.0), of_logits(-1.0, 1.0)]
    said = contradictions(branches)
    assert said.shape == (1, 3, 2)
    one, three = (torch.tensor(x).sigmoid() for x in (1.0, 3.0))
    # Classes: first and second branch, first and third, second and third.
    far = [(three - one + one - (1 - one)) / 2, one - (1 - one), (three - 1 + one) / 2]
    torch.testing.assert_close(said[0, :, 0].exp(), torch.stack(far))
    apart = torch.tensor([1e-6, 2.0, 2.0])  # correlated by 1, -1, -1
    torch.testing.assert_close(said[0, :, 1].exp(), apart)
    nan = contradictions([branches[0], branches[0], of_logits(math.nan, 1.0)]).exp()[0]
    torch.testing.assert_close(nan[0], torch.full((2,), 1e-6))
    torch.testing.assert_close(nan[1:], torch.tensor([[1.0, 2.0]] * 2))


def test_an_alarm_is_attributed_to_the_sensor_that_two_others_contradict():
    # The limit is 0.01 e^3 = 0.2.
    made = calibrated(attribution_threshold=3.0, alarm_threshold=3.0)
    branches = [
        branch(0.5, 0.5, 0.95, 0.1),
        branch(0.5, 0.6, 0.5, 0.69),
        branch(0.6, 0.75, 0.5, 0.72),
    ]
    verdict = made.judge(branches)
    assert verdict.attributed.tolist() == [3, 3, 0, 0]
    assert (verdict.alarm > 0).tolist() == [False, True, True, True]

    def beyond(distance):
        return math.log(distance / 0.01) - 3

    expected = torch.tensor([beyond(0.1), beyond(0.1), beyond(0.15), 0])
    torch.testing.assert_close(verdict.gate_logits[1], expected)  # apart .1, .25, .15
    assert verdict.alarm[1].item() == pytest.approx(beyond(0.25), abs=1e-5)
    second = verdict.gate_logits[3, 0].item()
    assert second == pytest.approx(beyond(0.59), abs=1e-5)
    assert aggregator().judge(branches).attributed.tolist() == [3] * 4  # not trained


def test_an_alarm_may_come_before_it_can_be_attributed():
    made = calibrated(attribution_threshold=3.0, alarm_threshold=2.5)  # 0.12
    branches = [branch(0.5, 0.5), branch(0.5, 0.5), branch(0.61, 0.65)]
    verdict = made.judge(branches)
    assert verdict.attributed.tolist() == [3, 3]
    expected = torch.tensor([11.0, 15.0]).log() - 2.5
    torch.testing.assert_close(verdict.alarm, expected, atol=1e-5, rtol=0)
    assert made.gate.false_alarms(verdict.contradictions) == (0.0, 0.5)


def test_four_sensors_need_two_witnesses_too():
    limits = dict(attribution_threshold=3.0, alarm_threshold=3.0)
    made = calibrated(sensors=NAMES[:4], **limits)
    branches = [branch(0.5, 0.5), branch(0.5, 0.55), branch(0.55, 0.5)]
    branches.append(branch(0.72, 0.9))  # 0.22, 0.22 and 0.17 from the others
    verdict = made.judge(branches)
    assert verdict.attributed.tolist() == [3, 3]
    second = verdict.gate_logits[0, 3].item()
    assert second == pytest.approx(math.log(0.22 / 0.01) - 3, abs=1e-5)


def test_suspects_are_the_two_that_contradict_each_other_most():
    made = aggregator(attribution_threshold=1.0, alarm_threshold=1.0)
    apart = torch.tensor([[0.5, 0.2, 0.9], [0.5, 1.2, 0.9], [1.5, 0.2, 1.6]])
    assert made.gate.suspects(apart).tolist() == [
        [True, True, True],
        [True, False, True],
        [False, True, True],
    ]


@settings(max_examples=200)
@given(
    count=st.integers(3, 5),
    compromised=st.integers(0, 4),
    lie=st.lists(st.floats(-50, 50), min_size=2, max_size=2),
    seed=st.integers(0, 1000),
)
def test_no_lie_has_an_alarm_attributed_to_a_benign_sensor(
    count, compromised, lie, seed
):
    generator = torch.Generator().manual_seed(seed)
    made = calibrated(0.05, sensors=[f"sensor_{i}" for i in range(count)])
    said = torch.randn(count, 2, generator=generator) / 4 + torch.tensor([2.0, -2.0])
    branches = [of_logits(*logits.tolist()) for logits in said]
    assert made.judge(branches).alarm.item() <= 0  # the benign agree
    compromised %= count
    branches[compromised] = of_logits(*lie)
    assert made.judge(branches).attributed.item() in (compromised, count)


def test_under_an_alarm_a_frame_is_kept_to_the_median():
    made = calibrated(margin=1.0)
    branches = [branch(p, p, p) for p in (0.5, 0.6, 0.7)]
    fused = ([torch.full((3, 1, 1, 1), 9.0)], [torch.ones(3, 1, 1, 1)])
    left_out, alarm = torch.tensor([3, 3, 0]), torch.tensor([-0.1, 0.1, 0.1])
    verdict = Verdict(left_out, alarm=alarm)
    (kept,), _ = made.combine(verdict, Said(branches, fused=fused))
    middle, high = torch.tensor([0.6, 0.7]).logit()
    expected = torch.stack([middle + 1, middle, high + 1])
    torch.testing.assert_close(kept.flatten(), expected)


def test_training_leaves_every_sensor_out_in_turn_and_learns_benign_frames():
    made = aggregator(momentum=0.5).train()
    branches = [branch(*[p] * 8) for p in (0.5, 0.6, 0.9)]
    benign, odd = torch.full((8,), 3), torch.full((8,), 1)
    verdict = made.judge(branches)
    assert verdict.attributed.tolist() == [3, 0, 3, 1, 3, 2, 3, 0]
    assert set(made.gate.losses(verdict, odd)) == {f"gate_right_{SENSORS[1]}"}
    assert made.gate.steps == 0, "frames with a compromised sensor teach nothing"
    assert made.gate.losses(verdict, benign) == {"gate_right_none": 1.0}
    far = torch.tensor([[0.1, 1.0], [0.4, 1.0], [0.3, 1.0]])  # one value: uncorrelated
    mean, deviation = made.gate.mean, made.gate.deviation
    torch.testing.assert_close(mean.exp(), far, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(deviation, torch.full((3, 2), 0.01))  # the floor
    assert made.judge(branches).attributed.tolist() == [3, 1, 3, 2, 3, 0, 3, 1]
    # Mean and deviation of the logarithms of 0.3 and 0.1, over two alike steps.
    made.gate.losses(made.judge([branch(*[p] * 8) for p in (0.5, 0.6, 0.7)]), benign)
    logs = torch.tensor([0.3, 0.1]).log()
    torch.testing.assert_close(made.gate.mean[2, 0], logs.mean())
    expected = logs.std(correction=0)
    torch.testing.assert_close(made.gate.deviation[2, 0], expected, rtol=1e-3, atol=0)


def test_calibration_by_hand():
    gate = aggregator(attribution_threshold=1.0, alarm_threshold=1.0).gate
    distances = torch.tensor([[0.1, 0.2, 0.3], [0.1, 0.4, 0.3]])
    logs = torch.stack([distances, torch.ones(2, 3)], dim=2).log()
    assert gate.false_alarms(logs) == (0.0, 0.0)  # not trained: it trusts all
    gate.mean[:, 0] = math.log(0.1)  # limits are 0.1 e = 0.27
    assert gate.false_alarms(logs) == (0.5, 0.5)  # a pair is apart, then two are
    gate.calibrate(logs)
    expected = torch.tensor([0.1, math.sqrt(0.2 * 0.4), 0.3]).log()
    torch.testing.assert_close(gate.mean[:, 0], expected)
    spread = math.log(2) / math.sqrt(2)
    torch.testing.assert_close(gate.deviation[:, 0], torch.tensor([0.01, spread, 0.01]))
    with pytest.raises(ValueError, match="needs two frames, got 1"):
        gate.calibrate(logs[:1])


def test_the_alarm_is_taught_and_holds_nobody_back_in_training():
    limits = dict(attribution_threshold=3.0, alarm_threshold=3.0)
    made = calibrated(loss_weight=0.5, margin=1.0, **limits).train()
    branches = [branch(0.5, 0.5), branch(0.5, 0.5), branch(0.6, 0.95)]
    verdict = made.judge(branches)
    alarm = torch.tensor([0.1, 0.45]).log() - math.log(0.01) - 3
    torch.testing.assert_close(verdict.alarm, alarm)
    fused = ([torch.full((2, 1, 1, 1), 9.0)], [torch.ones(2, 1, 1, 1)])
    everybody = Verdict(torch.tensor([3, 3]), alarm=verdict.alarm)
    said = Said(branches, fused=fused)
    (kept,), _ = made.combine(everybody, said)
    assert kept.flatten().tolist() == [1.0, 1.0]  # the median is 0, and the margin
    (kept,), _ = made.eval().combine(everybody, said)
    assert kept.flatten().tolist() == [1.0, 0.0]
    losses = made.gate.losses(verdict, torch.tensor([3, 2]))
    expected = -(-alarm[0]).sigmoid().log() - alarm[1].sigmoid().log()
    torch.testing.assert_close(losses["loss_alarm"], 0.5 * expected / 2)
    told = made.judge(branches, torch.tensor([0, 0]))
    assert told.alarm is None and told.attributed.tolist() == [0, 0]
    assert "loss_alarm" not in made.gate.losses(told, torch.tensor([3, 2]))


def test_one_frame_with_a_sensor_left_out_beside_one_without():
    values = torch.tensor([[[0.0], [5.0]], [[1.0], [1.0]], [[3.0], [3.0]]])
    low, high = median_interval(values, torch.tensor([3, 0]))
    assert low.tolist() == [[1.0], [1.0]] and high.tolist() == [[1.0], [3.0]]


@settings(max_examples=200)
@given(
    count=st.integers(3, 5),
    compromised=st.integers(0, 4),
    lie=st.floats(0, 1),
    expert=st.floats(-20, 20),
    margin=st.floats(0, 2),
    seed=st.integers(0, 1000),
)
def test_agreement_bounds_hold_whatever_one_sensor_says(
    count, compromised, lie, expert, margin, seed
):
    """Also where the lie raises an alarm, or has it attributed to a benign sensor."""
    generator = torch.Generator().manual_seed(seed)
    sensors = [f"sensor_{i}" for i in range(count)]
    limits = dict(attribution_threshold=2.5, alarm_threshold=1.5)
    made = calibrated(0.05, sensors=sensors, margin=margin, **limits)
    said = (0.25 * torch.randn(count, generator=generator)).sigmoid().tolist()
    compromised %= count
    branches = [branch(p) for p in said]
    low, high = made.bounds(Said(branches), compromised)
    branches[compromised] = branch(lie)
    verdict = made.judge(branches)
    fused = ([torch.full((1, 1, 1, 1), expert)], [torch.ones(1, 1, 1, 1)])
    combined = made.combine(verdict, Said(branches, fused=fused))[0][0]
    assert (low[0][0] - 1e-4 <= combined).all()
    assert (combined <= high[0][0] + 1e-4).all()
    if verdict.attributed[0] not in (compromised, count):
        assert low[0][0] == -torch.inf and high[0][0] == torch.inf


def test_nothing_is_certain_where_a_benign_sensor_may_be_left_out():
    limits = dict(attribution_threshold=3.0, alarm_threshold=3.0)
    made = calibrated(margin=0.5, **limits)
    branches = [branch(0.5, 0.5), branch(0.5, 0.5), branch(0.6, 0.9)]
    # The benign are 0.1 apart, and 0.4: more than 0.2.
    low, high = made.bounds(Said(branches), 0)
    expected = torch.tensor([0.5]).logit() - 0.5
    torch.testing.assert_close(low[0][0].flatten(), torch.tensor([expected, -math.inf]))
    assert high[0][0].flatten()[1] == math.inf


def test_contradictions_of_just_the_limit():
    """The third is left out, and the first may be the one that brought it about."""
    made = calibrated(alarm_threshold=1.0)
    branches = [branch(0.5), branch(0.5), branch(0.6)]
    limit = made.gate.deviations(contradictions(branches))[0, 2].item()
    made.gate.attribution_threshold = limit
    assert made.judge(branches).attributed.tolist() == [2]
    low, high = made.bounds(Said(branches), 0)
    assert low[0][0] == -math.inf and high[0][0] == math.inf


def test_agreeing_detector_with_a_sensor_gone_mad():
    config = AGREEMENT | dict(margin=1.0, gate=dict(loss_weight=0.5))
    detector = make_detector(SENSORS, **EXPERTS, aggregator=config)
    batch = make_batch([make_sample(), make_sample(odd_sensor="radar")])
    packed = detector.data_preprocessor(batch)
    for _ in range(2):
        losses = detector(**packed, mode="loss")
    assert {"branch_loss_cls", "attacked_branch_loss_cls", "loss_odd_one_out"} <= set(
        losses
    )
    detector.parse_losses(losses)[0].backward()
    for name, parameter in detector.branches.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name

    detector.eval()
    inputs, gate = packed["inputs"], detector.aggregator.gate
    # What a benign frame looks like in eval mode.
    with torch.no_grad():
        said = detector.fuse(detector.extract_feat(inputs)).verdict.contradictions
        gate.mean.copy_(said.mean(dim=0))
        gate.deviation.fill_(0.1)
        nan = inputs | {SENSORS[0]: torch.full_like(inputs[SENSORS[0]], math.nan)}

        def predict(changed, leave_out=None):
            samples = [sample.new() for sample in packed["data_samples"]]
            return detector.predict(changed, samples, leave_out=leave_out)

        benign, mad = predict(inputs), predict(nan)
        told = predict(nan, LeaveOut(SENSORS[0]))
    assert [sample.gate.argmax().item() for sample in benign] == [3, 3]
    assert [sample.gate.argmax().item() for sample in mad] == [0, 0]
    assert all(sample.alarm > 0 for sample in mad)
    for a, b in zip(mad, told, strict=True):
        assert torch.equal(a.pred_instances.bboxes, b.pred_instances.bboxes)
        assert a.pred_instances.scores.isfinite().all() and "alarm" not in b


def test_errors_of_thresholds():
    with pytest.raises(ValueError, match="at least three sensors"):
        aggregator(sensors=SENSORS[:2])
    with pytest.raises(ValueError, match="alarm_threshold must be positive"):
        aggregator(alarm_threshold=3.0)
    with pytest.raises(ValueError, match="attribution_threshold not less"):
        aggregator(attribution_threshold=0.0)
