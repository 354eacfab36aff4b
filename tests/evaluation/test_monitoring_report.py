import math

import pytest

from perception.evaluation.recording import (
    Moment,
    in_words,
    summarise,
    write_csv,
)
from perception.models.consensus.monitor import SensorState

SENSORS = ("camera", "lidar")


def moment(name, trust, named=None, **changes):
    state = SensorState(dict(zip(SENSORS, trust, strict=True)), named, 0.5)
    values = dict(gate=(0.1, 0.1, 0.8), alarm=-1.0, missing=(), attacked=())
    return Moment(frame_id=name, state=state, **values | changes)


MOMENTS = [
    moment("a", (0.9, 0.8)),
    moment("b", (0.9, 0.6), alarm=0.5),
    moment("c", (0.8, 0.1), "lidar", alarm=2.0, gate=(0, 1, 0), attacked=("lidar",)),
    moment("d", (0.8, 0.0), "lidar", alarm=None, gate=None, missing=("lidar",)),
]


def test_an_alarm_is_that_of_a_gate_that_attributes_it_to_nobody():
    assert [one.has_alarm for one in MOMENTS] == [False, True, False, False]


def test_summary_by_hand():
    summary = summarise(SENSORS, MOMENTS)
    assert (summary["frames"], summary["alarm_share"]) == (4, 0.5)
    assert summary["unattributed_share"] == 0.25
    assert summary["sensors"]["camera"] == {
        "mean_trust": pytest.approx(0.85),
        "least_trust": 0.8,
        "missing_frames": 0,
        "alarm_share": 0.0,
        "first_alarm": None,
        "attacked_frames": 0,
        "attacked_alarms": 0,
    }
    lidar = summary["sensors"]["lidar"]
    assert lidar["mean_trust"] == pytest.approx(0.375)
    assert (lidar["least_trust"], lidar["missing_frames"]) == (0.0, 1)
    assert (lidar["alarm_share"], lidar["first_alarm"]) == (0.5, "c")
    assert (lidar["attacked_frames"], lidar["attacked_alarms"]) == (1, 1)
    without = summarise(SENSORS, [moment("a", (0.9, 0.8), alarm=None)])
    assert without["unattributed_share"] is None


def test_words():
    monitor = {"false_alarm_rate": 0.01, "frames": 99}
    text = in_words({"monitor": monitor, **summarise(SENSORS, MOMENTS)})
    lines = text.splitlines()
    assert lines[1].split() == ["camera", "0.85", "0.80", "0", "0.0%", "-"]
    assert lines[2].split() == ["lidar", "0.38", "0.00", "1", "50.0%", "c"]
    assert lines[3] == "lidar attacked in 1 frames: alarm in 1 of them"
    assert "an alarm in 50.0%; of clean frames 1.0% may raise one" in lines[4]
    assert lines[5].startswith("an alarm of the gate in 25.0%")
    assert lines[6].startswith("No alarm is no proof that no sensor is compromised")


def test_csv(tmp_path):
    state = SensorState({"camera": 0.8, "lidar": 0.0}, "lidar", math.inf)
    missing = Moment("e", None, None, ("lidar",), (), state)
    write_csv(tmp_path / "trust.csv", SENSORS, [MOMENTS[2], missing])
    assert (tmp_path / "trust.csv").read_text().splitlines() == [
        "frame,gate_camera,gate_lidar,gate_none,trust_camera,trust_lidar,gate_alarm,"
        "missing,attacked,score,alarm",
        "c,0,1,0,0.8,0.1,2,,lidar,0.5,lidar",
        "e,,,,0.8,0,,lidar,,inf,lidar",
    ]
