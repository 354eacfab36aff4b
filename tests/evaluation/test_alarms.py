"""Alarms as other programs read them."""

import json
import math
from types import SimpleNamespace

import pytest

from perception.core.structures import DataError
from perception.datasets.bags.storage import Bag
from perception.evaluation.alarms import (
    ERROR,
    OK,
    STALE,
    TOPIC,
    WARN,
    statuses_of,
    tell,
)
from perception.models.consensus.monitor import SensorState

QUIET = SensorState({"camera": 0.9, "lidar": 0.8}, None, -1.5)
LOUD = SensorState({"camera": 0.9, "lidar": 0.1}, "lidar", 4.0)
GONE = SensorState({"camera": 0.9, "lidar": 0.0}, "lidar", math.inf)


def moment(number, state, missing=(), unattributed=False, time_ns=None):
    return SimpleNamespace(
        frame_id=f"{number:06d}",
        time_ns=time_ns,
        state=state,
        missing=missing,
        alarm=0.5 if unattributed else None,
        has_alarm=unattributed,
    )


def levels(state, missing=(), unattributed=False):
    return [level for level, *_ in statuses_of(state, missing, unattributed)]


def test_levels_say_what_is_known():
    assert levels(QUIET) == [OK, OK]
    assert levels(LOUD) == [OK, ERROR]
    assert levels(GONE, ("lidar",)) == [OK, STALE]
    assert levels(QUIET, unattributed=True) == [WARN, WARN]


@pytest.mark.parametrize("name", ["alarms", "alarms.bag"])
def test_a_line_is_on_disk_before_the_next_frame(tmp_path, name):
    file = tmp_path / "trust.jsonl"
    states = [moment(0, QUIET, time_ns=5), moment(1, GONE, ("lidar",), time_ns=6)]
    seen = []

    def following():
        for one in states:
            seen.append(len(file.read_text().splitlines()))
            yield one

    assert list(tell(following(), file, tmp_path / name)) == states
    assert seen == [0, 1]
    first, second = map(json.loads, file.read_text().splitlines())
    assert first == {
        "frame": "000000",
        "time_ns": 5,
        "alarm": None,
        "score": -1.5,
        "trust": {"camera": 0.9, "lidar": 0.8},
        "missing": [],
        "stale": [],
        "gate_alarm": None,
    }
    assert (second["alarm"], second["score"]) == ("lidar", None)
    with Bag(tmp_path / name) as bag:
        messages = [bag.decode(raw) for raw in bag.messages([TOPIC])]
    assert [[one.level for one in m.status] for m in messages] == [[0, 0], [0, 3]]
    assert messages[1].status[1].message == "no data"
    assert messages[0].header.stamp.nanosec == 5


def test_diagnostics_need_times(tmp_path):
    with pytest.raises(DataError, match="frame 000000: no time"):
        list(tell([moment(0, QUIET)], tmp_path / "t.jsonl", tmp_path / "alarms"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.jsonl"]
