"""Readings that were shown before, by hand."""

import numpy as np
import pytest
import torch

from perception.models.consensus.monitor import SensorMonitor
from perception.models.consensus.repeats import RepeatDetector, digest


def suspects(shown, **more):
    """Frames in which a sensor that shows these readings is suspect."""
    frames = [
        {"eye": str(n).encode(), "ear": f"ear {k}".encode()}
        for k, n in enumerate(shown)
    ]
    found = RepeatDetector(**more).follow(frames)
    assert {name for names in found for name in names} <= {"eye"}
    return [k for k, names in enumerate(found) if names]


@pytest.mark.parametrize(
    "shown, expected",
    [
        ((0, 1, 2, 3, 4), []),
        ((0, 1, 2, 2, 2, 2), [3, 4, 5]),  # frozen
        ((0, 1, 2, 1, 2, 1), [3, 4, 5]),  # replayed
        ((0, 1, 2, 1, 2, 3, 4, 5, 6), [3, 4, 5, 6]),  # two late; then held for two
        ((0, 1, 2, 2, 4, 5, 6, 7), [3, 4, 5]),  # recovered
    ],
    ids=["new", "frozen", "replayed", "late", "recovered"],
)
def test_who_repeats_itself_is_suspect_for_a_while(shown, expected):
    assert suspects(shown, hold=2) == expected


def test_only_so_many_readings_are_remembered():
    assert suspects((0, 1, 2, 0), memory=3) == [3]
    assert suspects((0, 1, 2, 0), memory=2) == []
    with pytest.raises(ValueError, match="memory"):
        RepeatDetector(memory=0)


def test_a_new_sequence_knows_nothing_and_no_return_is_no_reading():
    one = RepeatDetector()
    assert one.update({"eye": b"a"}) == () and one.update({"eye": b"a"}) == ("eye",)
    one.reset()
    assert one.update({"eye": b"a"}) == ()
    nothing = digest(torch.zeros(2, 3))
    assert nothing == b""
    assert one.update({"ear": nothing}) == () == one.update({"ear": nothing})


def test_digests_tell_readings_apart():
    reading = torch.rand(3, 8, 8)
    other = reading.clone()
    other[0, 0, 0] = torch.nextafter(other[0, 0, 0], torch.tensor(2.0))
    assert digest(reading) == digest(reading.clone()) != digest(other)
    assert len(digest(reading)) == 16


def test_a_monitor_alarms_about_the_stale_sensor_whatever_its_gate_says():
    monitor = SensorMonitor(
        sensors=("a", "b"), threshold=3.0, smoothing=0.8, start=(-5.0, -5.0),
        false_alarm_rate=0.01, frames=100,
    )  # fmt: skip
    quiet = (1e-6, 0.4, 0.6)
    assert monitor.update(quiet).alarm is None
    state = monitor.update(quiet, stale=("a",))
    assert (state.alarm, state.stale) == ("a", ("a",)) and np.isfinite(state.score)
    assert state.trust["a"] < 1e-6 < state.trust["b"]
    assert monitor.update(quiet).alarm is None  # nothing of it is left
