import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perception.core.structures import Channel, DataError, Objects, SensorSpec
from perception.evaluation.detection.rules import Difficulty, rules_with_overlaps
from perception.evaluation.robustness.records import (
    FrameRecord,
    largest_changes,
    outcome_of,
)
from perception.evaluation.robustness.store import FrameStore, first_difference

ALL = Difficulty("all", 1, 3, 1.0)
RULES = rules_with_overlaps({"Car": 0.5, "Pedestrian": 0.5})


def boxes(*rows, scores=None) -> Objects:
    """Objects from (name, x1, y1, x2, y2)."""
    names = np.array([row[0] for row in rows], dtype=object)
    return Objects.from_boxes(names, np.array([row[1:] for row in rows]), scores)


def record(frame_id="000001", truth=None, clean=None, attacked=None, **fields):
    nothing = boxes(scores=np.zeros(0))
    values = dict(
        frame_id=frame_id,
        index=1,
        truth=boxes() if truth is None else truth,
        clean=nothing if clean is None else clean,
        attacked=nothing if attacked is None else attacked,
        gate_clean=(0.1, 0.2, 0.7),
        gate_attacked=None,
        loss_clean=0.5,
        loss_attacked=1.5,
        value=1.5,
        change={"camera": {"red": 16.0}},
        seconds=0.25,
    )
    return FrameRecord(**values | fields)


def assert_same(one: FrameRecord, other: FrameRecord) -> None:
    assert one.to_json() == other.to_json()
    for name in ("truth", "clean", "attacked"):
        for column, value in vars(getattr(one, name)).items():
            read = getattr(getattr(other, name), column)
            if value is None:
                assert read is None
            else:
                assert np.array_equal(value, read)
                assert np.shape(value) == np.shape(read)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Car", "DontCare"]),
            *[st.floats(-10, 2000, width=32) for _ in range(4)],
            st.floats(0, 1, width=32),
        ),
        max_size=4,
    )
)
def test_json_gives_back_the_record(rows):
    labels = boxes(*[row[:5] for row in rows])
    scores = np.array([row[5] for row in rows], dtype=np.float64)
    found = boxes(*[row[:5] for row in rows], scores=scores)
    before = record(truth=labels, clean=found)
    assert_same(before, FrameRecord.from_json(json.loads(json.dumps(before.to_json()))))


CAR, FAR_CAR = ("Car", 0, 0, 40, 40), ("Car", 100, 0, 140, 40)
PERSON = ("Pedestrian", 200, 0, 220, 50)
NOWHERE = ("Car", 300, 60, 340, 90)
OUTCOMES = [
    pytest.param([CAR, FAR_CAR], [CAR, FAR_CAR], (2, 0, 0, 0), id="nothing changed"),
    pytest.param([CAR, FAR_CAR], [CAR], (2, 1, 0, 0), id="one lost"),
    pytest.param([CAR], [CAR, FAR_CAR], (1, 0, 0, 0), id="one more found"),
    pytest.param([CAR], [CAR, NOWHERE], (1, 0, 0, 1), id="a new false one"),
    pytest.param([NOWHERE], [NOWHERE], (0, 0, 1, 0), id="false before as well"),
    pytest.param([PERSON], [], (1, 1, 0, 0), id="another class lost"),
    pytest.param([], [], (0, 0, 0, 0), id="never anything"),
]


@pytest.mark.parametrize(("clean", "attacked", "expected"), OUTCOMES)
def test_outcome(clean, attacked, expected):
    one = record(
        truth=boxes(CAR, FAR_CAR, PERSON),
        clean=boxes(*clean, scores=np.full(len(clean), 0.9)),
        attacked=boxes(*attacked, scores=np.full(len(attacked), 0.9)),
    )
    outcome = outcome_of(one, RULES, ALL, 0.3)
    counts = (outcome.found_clean, outcome.lost, outcome.false_clean, outcome.false_new)
    assert counts == expected
    assert outcome.success == (expected[1] > 0 or expected[3] > 0)


def test_detections_below_the_threshold_do_not_count():
    one = record(
        truth=boxes(CAR),
        clean=boxes(CAR, scores=np.array([0.9])),
        attacked=boxes(CAR, NOWHERE, scores=np.array([0.2, 0.2])),
    )
    outcome = outcome_of(one, RULES, ALL, 0.3)
    assert (outcome.lost, outcome.false_new) == (1, 0)


def test_largest_changes_are_named_by_channel():
    channels = (Channel("near", "m", 0, 9), Channel("far", "m", 0, 9))
    sensors = {"sonar": SensorSpec("sonar", "image", channels)}
    clean = {"sonar": torch.zeros(2, 2, 3, 3)}
    attacked = {"sonar": torch.zeros(2, 2, 3, 3)}
    attacked["sonar"][1, 0, 2, 2] = -4
    attacked["sonar"][1, 1, 0, 0] = 2
    assert largest_changes(clean, attacked, sensors, ("sonar",)) == [
        {"sonar": {"near": 0.0, "far": 0.0}},
        {"sonar": {"near": 4.0, "far": 2.0}},
    ]


def test_a_line_cut_short_is_lost_and_nothing_else(tmp_path):
    store = FrameStore(tmp_path, {"eps": 1})
    store.append([record("000001"), record("000002")])
    lines = tmp_path / "frames.jsonl"
    whole = lines.read_bytes()
    lines.write_bytes(whole + b'{"frame_id": "000003", "ind')
    again = FrameStore(tmp_path, {"eps": 1}, resume=True)
    assert list(again.read()) == ["000001", "000002"]
    assert lines.read_bytes() == whole
    again.append([record("000003")])
    assert list(again.read()) == ["000001", "000002", "000003"]
    assert_same(again.read()["000003"], record("000003"))


def test_results_of_other_settings_are_kept(tmp_path):
    FrameStore(tmp_path, {"threat": {"eps": 8.0, "steps": 20}})
    with pytest.raises(DataError, match=r"threat\.eps was 8\.0 and is 16\.0 now"):
        FrameStore(tmp_path, {"threat": {"eps": 16.0, "steps": 20}}, resume=True)
    with pytest.raises(DataError, match="--resume"):
        FrameStore(tmp_path, {"threat": {"eps": 8.0, "steps": 20}})


def test_damaged_records_name_their_line(tmp_path):
    store = FrameStore(tmp_path, {})
    store.append([record()])
    with (tmp_path / "frames.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(DataError, match=r"frames\.jsonl, line 2: not a record"):
        store.read()
    (tmp_path / "frames.jsonl").write_text('{"frame_id": [1]}\n')
    with pytest.raises(DataError, match=r"line 1: not a record .*expected a name"):
        store.frame_ids()


@pytest.mark.parametrize(
    ("part", "column", "value"),
    [
        ("truth", "occlusion", [2**63]),
        ("truth", "occlusion", [0, 0]),
        ("attacked", "boxes_px", [[0, 0, 1e39, 1]]),
        ("attacked", "scores", ["0.5"]),
        ("clean", "scores", [float("nan")]),
    ],
)
def test_values_that_a_record_cannot_hold(part, column, value):
    one = ("Car", 1, 2, 30, 40)
    found = boxes(one, scores=np.array([0.5]))
    content = record(truth=boxes(one), clean=found, attacked=found).to_json()
    FrameRecord.from_json(content)
    content[part][column] = value
    with pytest.raises(DataError):
        FrameRecord.from_json(content)


def test_first_difference():
    assert first_difference({"a": [1, 2]}, {"a": [1, 2]}) is None
    assert first_difference({"a": 1}, {"b": 1}) == "a is given only there"
    assert first_difference({"a": {}}, {"a": {"b": 1}}) == "a.b is given only now"
