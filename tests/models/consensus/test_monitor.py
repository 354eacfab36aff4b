import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perception.apis import SensorMonitor
from perception.core.structures import DataError
from perception.models.consensus.monitor import conformal_threshold, gate_evidence

SENSORS = ("camera", "lidar")
BENIGN = (0.1, 0.1, 0.8)  # log(p_i / p_none) = -log 8 for both sensors


def monitor(threshold=0.0, smoothing=0.5, start=(0.0, 0.0)):
    return SensorMonitor(
        sensors=SENSORS,
        threshold=threshold,
        smoothing=smoothing,
        start=start,
        false_alarm_rate=0.05,
        frames=20,
    )


def test_evidence_is_the_log_odds_and_limited():
    gates = [[0.25, 0.25, 0.5], [0.0, 1.0, 0.0]]
    evidence = gate_evidence(gates)
    assert evidence[0] == pytest.approx([-math.log(2), -math.log(2)])
    assert evidence[1] == pytest.approx([0, math.log(1e6)])


@pytest.mark.parametrize(
    ("n", "rate", "expected"),
    [
        pytest.param(99, 0.01, 99, id="k = 100 x 0.99"),
        pytest.param(19, 0.05, 19, id="k = 20 x 0.95"),
        pytest.param(200, 0.01, 199, id="k = ceil(198.99)"),
        pytest.param(9, 0.5, 5, id="the median"),
    ],
)
def test_conformal_threshold_is_the_kth_smallest(n, rate, expected):
    scores = np.random.default_rng(0).permutation(np.arange(1, n + 1))
    assert conformal_threshold(scores, rate) == expected


def test_too_few_frames_say_how_many_are_needed():
    with pytest.raises(DataError, match=r"98 .* below 0.0101, got 0.01: .* 99 frames"):
        conformal_threshold(np.arange(98.0), 0.01)
    for rate in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(DataError, match=r"must be in \(0, 1\)"):
            conformal_threshold(np.arange(98.0), rate)


@given(st.integers(20, 60), st.sampled_from([0.05, 0.1, 0.3]), st.integers(0, 9))
def test_at_most_the_rate_of_the_calibration_frames_is_above(n, rate, seed):
    scores = np.random.default_rng(seed).normal(size=n)
    above = (scores > conformal_threshold(scores, rate)).mean()
    assert above <= rate


def test_new_clean_frames_keep_the_rate():
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(200):
        gates = rng.dirichlet((1, 1, 8), size=100)
        one = SensorMonitor.calibrate(
            gates[:50], sensors=SENSORS, false_alarm_rate=0.1, smoothing=0
        )
        rates.append(np.mean([s.alarm is not None for s in one.follow(gates[50:])]))
    # Expected 5 / 51; the standard error of the mean is about 0.004.
    assert np.mean(rates) == pytest.approx(5 / 51, abs=0.012)


def test_smoothing_by_hand():
    one = monitor(threshold=1.0, smoothing=0.5)
    lying = (8 / 10, 1 / 10, 1 / 10)  # evidence log 8 = 2.079 of the camera, 0 of lidar
    first = one.update(lying)
    assert first.score == pytest.approx(math.log(8) / 2)
    assert first.alarm == "camera"  # 1.04 > 1
    assert first.trust["camera"] == pytest.approx(1 / (1 + math.sqrt(8)))
    assert first.trust["lidar"] == pytest.approx(0.5)
    second = one.update(lying)
    assert second.score == pytest.approx(0.75 * math.log(8))
    third = one.update(BENIGN)
    assert third.score == pytest.approx((0.375 - 0.5) * math.log(8))
    assert third.alarm is None
    one.reset()
    assert one.update(lying) == first


def test_without_smoothing_trust_is_of_this_frame_alone():
    one = monitor(smoothing=0.0)
    one.update((0.9, 0.05, 0.05))
    state = one.update(torch.tensor([0.25, 0.25, 0.5]))
    assert state.trust == pytest.approx({"camera": 2 / 3, "lidar": 2 / 3})
    assert state.alarm is None


def test_a_missing_sensor_counts_as_compromised():
    one = monitor(smoothing=0.9, start=(-2.0, -3.0))
    state = one.update(BENIGN, missing=["lidar"])
    assert (state.alarm, state.trust["lidar"]) == ("lidar", 0.0)
    assert state.score == math.inf
    # No prediction at all: the other sensor is trusted as before.
    again = one.update(None, missing=["lidar"])
    assert again.trust["camera"] == state.trust["camera"]
    assert one.update(BENIGN).alarm is None
    with pytest.raises(DataError, match=r"no sensors .'radar'."):
        one.update(BENIGN, missing=["radar"])


def test_calibration_sees_every_frame_with_a_whole_past():
    gates = np.array([BENIGN] * 19 + [(0.8, 0.1, 0.1)])
    one = SensorMonitor.calibrate(
        gates, sensors=SENSORS, false_alarm_rate=0.05, smoothing=0.5
    )
    mean = (-19 + 1) / 20 * math.log(8)
    assert one.start == pytest.approx((mean, -19 / 20 * math.log(8)))
    # Just after nineteen benign frames the attacked one weighs a half.
    assert one.threshold == pytest.approx(0, abs=1e-4)


def test_file(tmp_path):
    gates = np.random.default_rng(0).dirichlet((1, 1, 8), size=40)
    one = SensorMonitor.calibrate(gates, sensors=SENSORS, false_alarm_rate=0.05)
    one.save(tmp_path / "monitor.json")
    again = SensorMonitor.load(tmp_path / "monitor.json")
    assert again.to_json() == one.to_json()
    assert again.follow(gates) == one.follow(gates)
    values = json.loads((tmp_path / "monitor.json").read_text())
    assert values["frames"] == 40
    for content in ("[]", "{}", "x", json.dumps(values | {"version": 2})):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(DataError, match=r"bad\.json: not a sensor monitor"):
            SensorMonitor.load(tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ((0.5, 0.5), "a gate over 2 sensors has 3 probabilities, got 2"),
        ((0.5, 0.5, 0.5), "sum to 1"),
        ((math.nan, 0.5, 0.5), "sum to 1"),
        ((1.0,), r"must be \(N, S \+ 1\)"),
    ],
)
def test_bad_gates(gate, message):
    with pytest.raises(DataError, match=message):
        monitor().update(gate)


def test_bad_settings():
    with pytest.raises(DataError, match="smoothing must be in"):
        monitor(smoothing=1.0)
    with pytest.raises(DataError, match="2 sensors, but 1 start values"):
        monitor(start=(0.0,))
    with pytest.raises(DataError, match="must be"):
        SensorMonitor.calibrate(np.zeros((0, 3)), sensors=SENSORS)
