"""The gate that compares predictions: by hand, its certificate, and in a detector."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_detectors import NAMES, make_batch, make_detector, make_sample

from perception.models.consensus.gate import contradictions
from perception.models.consensus.intervals import trusted_range
from perception.models.fusion import AgreementFusion, FusionOutput, OddOneOutFusion

SENSORS = NAMES[:3]


def neck(sensors=SENSORS, **changes) -> AgreementFusion:
    torch.manual_seed(0)
    arguments = dict(sensors=sensors, in_channels=2, num_levels=1, out_channels=2)
    return AgreementFusion(**arguments | changes).eval()


def view(*probabilities: float):
    """One frame per probability: a class score of one location, and a box of 1."""
    scores = torch.tensor(probabilities)[:, None, None, None]
    return ([scores.logit()], [torch.ones_like(scores)])


def levels(frames=1):
    return [[torch.randn(frames, 2, 1, 1) for _ in SENSORS]]


def calibrated(distance=0.01, **changes) -> AgreementFusion:
    """Scores of honest sensors are 0.01 apart, or a factor e more or less."""
    made = neck(**changes)
    made.mean[:, 0] = math.log(distance)
    return made


def seen(views, blamed=None, doubt=None) -> FusionOutput:
    return FusionOutput((), views=tuple(views), blamed=blamed, doubt=doubt)


def of_logits(*logits):
    """One frame whose two classes have these logits at the only location."""
    return ([torch.tensor(logits)[None, :, None, None]], [torch.ones(1, 1, 1, 1)])


def test_contradictions_by_hand():
    views = [of_logits(1.0, -1.0), of_logits(3.0, 1.0), of_logits(-1.0, 1.0)]
    said = contradictions(views)
    assert said.shape == (1, 3, 2)
    one, three = (torch.tensor(x).sigmoid() for x in (1.0, 3.0))
    # Classes: first and second view, first and third, second and third.
    far = [(three - one + one - (1 - one)) / 2, one - (1 - one), (three - 1 + one) / 2]
    torch.testing.assert_close(said[0, :, 0].exp(), torch.stack(far))
    apart = torch.tensor([1e-6, 2.0, 2.0])  # correlated by 1, -1, -1
    torch.testing.assert_close(said[0, :, 1].exp(), apart)
    nan = contradictions([views[0], views[0], of_logits(math.nan, 1.0)]).exp()[0]
    torch.testing.assert_close(nan[0], torch.full((2,), 1e-6))
    torch.testing.assert_close(nan[1:], torch.tensor([[1.0, 2.0]] * 2))


def test_the_sensor_that_two_others_contradict_is_blamed():
    made = calibrated(blame_at=3.0, doubt_at=3.0)  # the limit is 0.01 e^3 = 0.2
    views = [
        view(0.5, 0.5, 0.95, 0.1),
        view(0.5, 0.6, 0.5, 0.69),
        view(0.6, 0.75, 0.5, 0.72),
    ]
    output = made.fuse(levels(4), views)
    assert output.blamed.tolist() == [3, 3, 0, 0]
    assert (output.doubt > 0).tolist() == [False, True, True, True]

    def beyond(distance):
        return math.log(distance / 0.01) - 3

    expected = torch.tensor([beyond(0.1), beyond(0.1), beyond(0.15), 0])
    torch.testing.assert_close(output.gate_logits[1], expected)  # apart .1, .25, .15
    assert output.doubt[1].item() == pytest.approx(beyond(0.25), abs=1e-5)
    second = output.gate_logits[3, 0].item()
    assert second == pytest.approx(beyond(0.59), abs=1e-5)
    assert neck().fuse(levels(4), views).blamed.tolist() == [3] * 4  # not trained


def test_doubt_may_come_before_blame():
    made = calibrated(blame_at=3.0, doubt_at=2.5)  # 0.12 for a doubt
    views = [view(0.5, 0.5), view(0.5, 0.5), view(0.61, 0.65)]
    output = made.fuse(levels(2), views)
    assert output.blamed.tolist() == [3, 3]
    expected = torch.tensor([11.0, 15.0]).log() - 2.5
    torch.testing.assert_close(output.doubt, expected, atol=1e-5, rtol=0)
    assert made.false_alarms(contradictions(views)) == (0.0, 0.5)


def test_four_sensors_need_two_witnesses_too():
    made = calibrated(sensors=NAMES[:4], blame_at=3.0, doubt_at=3.0)
    features = [[torch.randn(2, 2, 1, 1) for _ in range(4)]]
    views = [view(0.5, 0.5), view(0.5, 0.55), view(0.55, 0.5), view(0.72, 0.9)]
    output = made.fuse(features, views)  # 0.22, 0.22 and 0.17 from the others
    assert output.blamed.tolist() == [3, 3]
    second = output.gate_logits[0, 3].item()
    assert second == pytest.approx(math.log(0.22 / 0.01) - 3, abs=1e-5)


@settings(max_examples=200)
@given(
    count=st.integers(3, 5),
    liar=st.integers(0, 4),
    lie=st.lists(st.floats(-50, 50), min_size=2, max_size=2),
    seed=st.integers(0, 1000),
)
def test_no_lie_has_an_honest_sensor_blamed(count, liar, lie, seed):
    generator = torch.Generator().manual_seed(seed)
    made = calibrated(0.05, sensors=[f"sensor_{i}" for i in range(count)])
    said = torch.randn(count, 2, generator=generator) / 4 + torch.tensor([2.0, -2.0])
    views = [of_logits(*logits.tolist()) for logits in said]
    features = [[torch.randn(1, 2, 1, 1) for _ in range(count)]]
    assert made.fuse(features, views).doubt.item() <= 0  # the honest agree
    liar %= count
    views[liar] = of_logits(*lie)
    assert made.fuse(features, views).blamed.item() in (liar, count)


def test_a_frame_in_doubt_is_kept_to_the_median():
    made = calibrated(margin=1.0)
    views = [view(p, p, p) for p in (0.5, 0.6, 0.7)]
    said = ([torch.full((3, 1, 1, 1), 9.0)], [torch.ones(3, 1, 1, 1)])
    blamed, doubt = torch.tensor([3, 3, 0]), torch.tensor([-0.1, 0.1, 0.1])
    (kept,), _ = made.combine(said, seen(views, blamed, doubt))
    middle, high = torch.tensor([0.6, 0.7]).logit()
    expected = torch.stack([middle + 1, middle, high + 1])
    torch.testing.assert_close(kept.flatten(), expected)
    (alone,), _ = made.combine(said, seen(views, None, doubt))
    torch.testing.assert_close(alone.flatten(), middle + torch.tensor([1.0, 0.0, 0.0]))


def test_what_is_blamed_is_not_read():
    made = calibrated(blame_at=3.0, doubt_at=3.0)
    features = levels(2)
    for feature in features[0]:
        feature.requires_grad_()
    views = [view(0.5, 0.95), view(0.5, 0.5), view(0.5, 0.5)]
    output = made.fuse(features, views)
    assert output.blamed.tolist() == [3, 0]
    output.features[0].sum().backward()
    gradient = features[0][0].grad
    assert gradient[0].abs().sum() > 0 and (gradient[1] == 0).all()
    experts = made.fused
    assert isinstance(experts, OddOneOutFusion)
    for n, expert in enumerate((3, 0)):
        told = experts.leave_out(
            [[f[n : n + 1] for f in features[0]]], torch.tensor([expert])
        )
        torch.testing.assert_close(output.features[0][n : n + 1], told[0])


def test_frames_come_back_in_their_order():
    experts = OddOneOutFusion(
        sensors=SENSORS, in_channels=2, num_levels=1, out_channels=2, gate=None
    )
    features, blamed = levels(6), torch.tensor([2, 3, 0, 2, 1, 3])
    (together,) = experts.leave_out(features, blamed)
    for n, number in enumerate(blamed.tolist()):
        one = [[f[n : n + 1] for f in features[0]]]
        for (alone,) in (
            experts.leave_out(one, blamed[n : n + 1]),
            experts.expert(one, number),
        ):
            torch.testing.assert_close(together[n : n + 1], alone)
    assert not experts.has_gate and experts.fuse(features).gate_logits is None


def test_training_leaves_every_sensor_out_in_turn_and_learns_honest_frames():
    made = neck(momentum=0.5).train()
    views = [view(*[p] * 8) for p in (0.5, 0.6, 0.9)]
    honest, odd = torch.full((8,), 3), torch.full((8,), 1)
    output = made.fuse(levels(8), views)
    assert output.blamed.tolist() == [3, 0, 3, 1, 3, 2, 3, 0]
    assert set(made.losses(output, odd)) == {f"gate_right_{SENSORS[1]}"}
    assert made.steps == 0, "frames where a sensor lies teach nothing"
    assert made.losses(output, honest) == {"gate_right_none": 1.0}
    far = torch.tensor([[0.1, 1.0], [0.4, 1.0], [0.3, 1.0]])  # one value: uncorrelated
    torch.testing.assert_close(made.mean.exp(), far, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(made.deviation, torch.full((3, 2), 0.01))  # the floor
    assert made.fuse(levels(8), views).blamed.tolist() == [3, 1, 3, 2, 3, 0, 3, 1]
    # Mean and deviation of the logarithms of 0.3 and 0.1, over two alike steps.
    other = [view(*[p] * 8) for p in (0.5, 0.6, 0.7)]
    made.losses(made.fuse(levels(8), other), honest)
    logs = torch.tensor([0.3, 0.1]).log()
    torch.testing.assert_close(made.mean[2, 0], logs.mean())
    expected = logs.std(correction=0)
    torch.testing.assert_close(made.deviation[2, 0], expected, rtol=1e-3, atol=0)


def test_calibration_by_hand():
    made = neck(blame_at=1.0, doubt_at=1.0)
    distances = torch.tensor([[0.1, 0.2, 0.3], [0.1, 0.4, 0.3]])
    logs = torch.stack([distances, torch.ones(2, 3)], dim=2).log()
    assert made.false_alarms(logs) == (0.0, 0.0)  # not trained: nobody is blamed
    made.mean[:, 0] = math.log(0.1)  # limits are 0.1 e = 0.27
    assert made.false_alarms(logs) == (0.5, 0.5)  # a pair is apart, then two are
    made.calibrate(logs)
    expected = torch.tensor([0.1, math.sqrt(0.2 * 0.4), 0.3]).log()
    torch.testing.assert_close(made.mean[:, 0], expected)
    spread = math.log(2) / math.sqrt(2)
    torch.testing.assert_close(made.deviation[:, 0], torch.tensor([0.01, spread, 0.01]))
    with pytest.raises(ValueError, match="needs two frames, got 1"):
        made.calibrate(logs[:1])


def test_doubt_is_taught_and_holds_nobody_back_in_training():
    made = calibrated(loss_weight=0.5, blame_at=3.0, doubt_at=3.0, margin=1.0).train()
    views = [view(0.5, 0.5), view(0.5, 0.5), view(0.6, 0.95)]
    output = made.fuse(levels(2), views)
    doubt = torch.tensor([0.1, 0.45]).log() - math.log(0.01) - 3
    torch.testing.assert_close(output.doubt, doubt)
    said = ([torch.full((2, 1, 1, 1), 9.0)], [torch.ones(2, 1, 1, 1)])
    everybody = torch.tensor([3, 3])
    (kept,), _ = made.combine(said, seen(views, everybody, output.doubt))
    assert kept.flatten().tolist() == [1.0, 1.0]  # the median is 0, and the margin
    (kept,), _ = made.eval().combine(said, seen(views, everybody, output.doubt))
    assert kept.flatten().tolist() == [1.0, 0.0]
    losses = made.losses(output, torch.tensor([3, 2]))
    expected = -(-doubt[0]).sigmoid().log() - doubt[1].sigmoid().log()
    torch.testing.assert_close(losses["loss_doubt"], 0.5 * expected / 2)
    with made.blaming(SENSORS[0]):
        assert made.fuse(levels(2), views).doubt is None


def test_one_blamed_frame_beside_an_honest_one():
    views = torch.tensor([[[0.0], [5.0]], [[1.0], [1.0]], [[3.0], [3.0]]])
    low, high = trusted_range(views, torch.tensor([3, 0]))
    assert low.tolist() == [[1.0], [1.0]] and high.tolist() == [[1.0], [3.0]]


@settings(max_examples=200)
@given(
    count=st.integers(3, 5),
    liar=st.integers(0, 4),
    lie=st.floats(0, 1),
    expert=st.floats(-20, 20),
    margin=st.floats(0, 2),
    seed=st.integers(0, 1000),
)
def test_bounds_hold_whatever_one_sensor_says(count, liar, lie, expert, margin, seed):
    """Also where the lie brings blame upon an honest sensor, or doubt."""
    generator = torch.Generator().manual_seed(seed)
    sensors = [f"sensor_{i}" for i in range(count)]
    made = neck(sensors=sensors, margin=margin, blame_at=2.5, doubt_at=1.5)
    made.mean[:, 0] = math.log(0.05)
    said = (0.25 * torch.randn(count, generator=generator)).sigmoid().tolist()
    liar %= count
    views = [view(p) for p in said]
    low, high = made.bounds(seen(views), liar)
    lied = list(views)
    lied[liar] = view(lie)
    features = [[torch.randn(1, 2, 1, 1) for _ in sensors]]
    output = made.fuse(features, lied)
    blamed = output.blamed
    fused = ([torch.full((1, 1, 1, 1), expert)], [torch.ones(1, 1, 1, 1)])
    combined = made.combine(fused, seen(lied, blamed, output.doubt))[0][0]
    assert (low[0][0] - 1e-4 <= combined).all() and (
        combined <= high[0][0] + 1e-4
    ).all()
    if blamed[0] not in (liar, count):
        assert low[0][0] == -torch.inf and high[0][0] == torch.inf


def test_nothing_is_certain_where_an_honest_sensor_may_be_blamed():
    made = calibrated(blame_at=3.0, doubt_at=3.0, margin=0.5)
    views = [view(0.5, 0.5), view(0.5, 0.5), view(0.6, 0.9)]
    low, high = made.bounds(
        seen(views), 0
    )  # the honest are 0.1 apart, and 0.4: more than 0.2
    expected = torch.tensor([0.5]).logit() - 0.5
    torch.testing.assert_close(low[0][0].flatten(), torch.tensor([expected, -math.inf]))
    assert high[0][0].flatten()[1] == math.inf


def test_contradictions_of_just_the_limit():
    """The third is blamed, and the first may be the liar that brought it about."""
    made = calibrated(doubt_at=1.0)
    views = [view(0.5), view(0.5), view(0.6)]
    made.blame_at = made._apart(contradictions(views))[0, 2].item()
    assert made.fuse(levels(), views).blamed.tolist() == [2]
    low, high = made.bounds(seen(views), 0)
    assert low[0][0] == -math.inf and high[0][0] == math.inf


def test_detector_with_a_sensor_gone_mad():
    detector = make_detector(
        SENSORS, fusion="AgreementFusion", margin=1.0, loss_weight=0.5
    )
    batch = make_batch([make_sample(), make_sample(odd_sensor="radar")])
    packed = detector.data_preprocessor(batch)
    for _ in range(2):
        losses = detector(**packed, mode="loss")
    assert {"view_loss_cls", "attacked_view_loss_cls", "loss_odd_one_out"} <= set(
        losses
    )
    detector.parse_losses(losses)[0].backward()
    for name, parameter in detector.branches.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name

    detector.eval()
    inputs = packed["inputs"]
    # What an honest frame looks like in eval mode.
    with torch.no_grad():
        views = detector.fuse(detector.extract_branches(inputs)).views
        detector.fusion.mean.copy_(contradictions(views).mean(dim=0))
        detector.fusion.deviation.fill_(0.1)
        nan = inputs | {SENSORS[0]: torch.full_like(inputs[SENSORS[0]], math.nan)}

        def predict(changed):
            samples = [sample.new() for sample in packed["data_samples"]]
            return detector(changed, samples, mode="predict")

        honest, mad = predict(inputs), predict(nan)
        with detector.fusion.blaming(SENSORS[0]):
            told = predict(nan)
    assert [sample.gate.argmax().item() for sample in honest] == [3, 3]
    assert [sample.gate.argmax().item() for sample in mad] == [0, 0]
    for a, b in zip(mad, told, strict=True):
        assert torch.equal(a.pred_instances.bboxes, b.pred_instances.bboxes)
        assert a.pred_instances.scores.isfinite().all()


def test_errors():
    with pytest.raises(ValueError, match="at least three sensors"):
        neck(sensors=SENSORS[:2])
    with pytest.raises(ValueError, match="doubt_at must be positive"):
        neck(doubt_at=3.0)
    with pytest.raises(ValueError, match="blame_at not less"):
        neck(blame_at=0.0)
