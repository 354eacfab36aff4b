import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_makers import (
    CAR,
    EASY,
    MODERATE,
    objects_of,
    random_frame,
    slow_ap,
)

from perception.core.structures import Objects
from perception.datasets.kitti.files import read_objects
from perception.evaluation.detection import matching
from perception.evaluation.detection.kitti_ap import (
    as_official,
    evaluate,
    mean_ap,
    recall_thresholds,
)
from perception.evaluation.detection.rules import (
    KITTI_CLASSES,
    KITTI_DIFFICULTIES,
    METRICS,
    ClassRule,
    kitti_rules,
    rules_with_overlaps,
)

FIXTURE = Path(__file__).parents[3] / "shared" / "kitti_eval_fixture"
NOTHING = Objects.from_boxes([], np.zeros((0, 4)))
NO_DETECTION = Objects.from_boxes([], np.zeros((0, 4)), [])
BOX = [0, 0, 60, 60]
FAR_BOX = [500, 0, 560, 60]


def ap(truth, found, metric="2d", rule=CAR, difficulty=EASY):
    result = evaluate(
        truth, found, classes=[rule], metrics=[metric], difficulties=[difficulty]
    )
    return result[rule.name][metric][difficulty.name]


@pytest.mark.skipif(not FIXTURE.is_dir(), reason=f"no reference results in {FIXTURE}")
def test_agrees_with_the_official_program():
    names = sorted(path.name for path in (FIXTURE / "label_2").iterdir())
    result = evaluate(
        [read_objects(FIXTURE / "label_2" / name) for name in names],
        [read_objects(FIXTURE / "results" / name, scores=True) for name in names],
    )
    got = as_official(result)
    expected = json.loads((FIXTURE / "expected.json").read_text())
    assert set(got) == set(expected)
    for key, cells in expected.items():
        for difficulty, cell in cells.items():
            assert got[key][difficulty] == pytest.approx(cell, abs=0.001), key


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_a_walk_through_every_object(seed):
    rng = np.random.default_rng(seed)
    truth = [random_frame(rng, is_detection=False) for _ in range(25)]
    found = [random_frame(rng, is_detection=True) for _ in range(25)]
    # A few exact copies, so that ties and perfect overlaps occur, too.
    for i in range(0, 25, 3):
        scores = rng.choice([0.4, 0.9], len(truth[i]))
        found[i] = replace(truth[i].select(truth[i].names != "DontCare"), scores=None)
        found[i] = replace(found[i], scores=scores[: len(found[i])])
    result = evaluate(truth, found)
    for rule in KITTI_CLASSES:
        assert list(result[rule.name]) == list(METRICS)
        for metric in METRICS:
            for level in KITTI_DIFFICULTIES:
                cell = result[rule.name][metric][level.name]
                expected = slow_ap(truth, found, rule, level, metric)
                assert (cell.r11, cell.r40) == pytest.approx(expected, abs=1e-6)


def test_two_objects_and_a_false_alarm_by_hand():
    truth = objects_of("Car Car", [BOX, [100, 0, 160, 60]])
    found = objects_of(
        "Car Car Car", [BOX, FAR_BOX, [100, 0, 160, 60]], [0.9, 0.8, 0.7]
    )
    cell = ap([truth], [found])
    # Two thresholds: 0.9 with precision 1 and 0.7 with precision 2/3.
    assert cell.precision[:3] == pytest.approx([1, 2 / 3, 0])
    assert cell.r11 == pytest.approx(100 / 11)
    assert cell.r40 == pytest.approx(100 * 2 / 3 / 40)
    assert cell.objects == 2


def test_half_of_80_objects_by_hand():
    truth = [objects_of("Car", [BOX])] * 80
    found = [objects_of("Car", [BOX], [1 - i / 100]) for i in range(40)]
    cell = ap(truth, found + [NO_DETECTION] * 40)
    # Precision 1 at the recalls 0, 1/40, … 20/40.
    assert cell.r11 == pytest.approx(100 * 6 / 11)
    assert cell.r40 == pytest.approx(50)


def test_perfect_detections_give_100():
    truth = [objects_of("Car", [BOX])] * 41
    found = [objects_of("Car", [BOX], [1.0])] * 41
    assert (ap(truth, found).r11, ap(truth, found).r40) == (100, 100)


def test_orientation_at_a_right_angle_counts_half():
    truth = [objects_of("Car", [BOX], alpha=[0.0])] * 41
    found = [objects_of("Car", [BOX], [1.0], alpha=[np.pi / 2])] * 41
    assert ap(truth, found, "aos").r40 == pytest.approx(50)


def test_thresholds_are_at_most_41_and_follow_the_recall():
    scores = np.linspace(1, 0, 1000)
    thresholds = recall_thresholds(scores, 1000)
    assert len(thresholds) == 41
    assert thresholds[-1] == 0
    assert recall_thresholds(np.zeros(0), 5).shape == (0,)


def test_order_of_frames_and_of_detections_does_not_matter():
    rng = np.random.default_rng(3)
    truth = [random_frame(rng, is_detection=False) for _ in range(60)]
    found = [random_frame(rng, is_detection=True) for _ in range(60)]
    scores = iter(rng.permutation(1000) / 1000)
    found = [
        replace(
            objects,
            scores=np.array([next(scores) for _ in objects.names]),
            # Distinct overlaps too: equal ones are decided by the order.
            boxes_px=objects.boxes_px + rng.uniform(-0.3, 0.3, objects.boxes_px.shape),
        )
        for objects in found
    ]
    expected = as_official(evaluate(truth, found, metrics=["2d", "aos"]))
    frames = rng.permutation(60)
    shuffled = [found[i].select(rng.permutation(len(found[i]))) for i in frames]
    got = evaluate([truth[i] for i in frames], shuffled, metrics=["2d", "aos"])
    assert as_official(got) == expected


def test_without_detections_everything_is_zero():
    result = evaluate([objects_of("Car", [BOX])], [NO_DETECTION])
    cell = result["Car"]["2d"]["easy"]
    assert (cell.r11, cell.r40, cell.objects) == (0, 0, 1)
    assert mean_ap(result) == 0


@pytest.mark.parametrize("frames", [0, 1])
def test_without_ground_truth_the_mean_is_nan(frames):
    result = evaluate([NOTHING] * frames, [NO_DETECTION] * frames)
    assert result["Car"]["2d"]["easy"].objects == 0
    assert np.isnan(mean_ap(result))


def test_mean_leaves_out_classes_without_objects():
    truth = [objects_of("Car", [BOX])] * 41
    found = [objects_of("Car", [BOX], [1.0])] * 41
    assert mean_ap(evaluate(truth, found), "2d", "easy", "R11") == 100


def test_metrics_without_data_are_left_out():
    truth = objects_of("Car", [BOX])
    result = evaluate([truth], [objects_of("Car", [BOX], [0.5])])
    assert list(result["Car"]) == ["2d"]
    mixed = objects_of(
        "Car Car",
        [BOX, BOX],
        [0.5, 0.6],
        alpha=[0.1, -10],
        location_m=[[1, 1, 1], [-1000, -1000, -1000]],
    )
    placed = objects_of("Car", [BOX], alpha=[0.1], location_m=[[1, 1, 1]])
    assert list(evaluate([placed], [mixed])["Car"]) == ["2d", "bev", "3d"]


def test_dontcare_lines_among_the_detections_do_not_forbid_orientation():
    truth = [objects_of("Car DontCare", [BOX, FAR_BOX], alpha=[1.0, -10])] * 41
    found = [replace(frame, scores=np.ones(2)) for frame in truth]
    assert ap(truth, found, "aos").r40 == 100


def test_any_classes_overlaps_and_difficulties():
    rule = ClassRule("Elk", {"2d": 0.2}, neighbours=("Moose",))
    truth = [objects_of("elk Moose", [BOX, FAR_BOX])] * 41
    shifted = [30, 0, 90, 60]  # overlap 1/3
    found = [objects_of("Elk elk", [shifted, FAR_BOX], [0.9, 0.8])] * 41
    assert ap(truth, found, rule=rule, difficulty=MODERATE).r40 == 100
    strict = replace(rule, min_overlap={"2d": 0.4})
    assert ap(truth, found, rule=strict, difficulty=MODERATE).r40 == 0


def test_rules_for_ones_own_classes():
    rules = rules_with_overlaps({"car": 0.5, "Elk": 0.3})
    assert [(r.name, r.neighbours) for r in rules] == [("car", ("Van",)), ("Elk", ())]
    assert [r.min_overlap["2d"] for r in kitti_rules(["Elk", "car"])] == [0.7]
    with pytest.raises(ValueError, match=r"'Elk'.*\[0, 1\)"):
        rules_with_overlaps({"Elk": 50})


@pytest.mark.parametrize(
    ("found", "metrics", "message"),
    [
        pytest.param([], ["2d"], "1 frames of ground truth and 0", id="frames"),
        pytest.param([NOTHING], ["2d"], "must have scores", id="no scores"),
        pytest.param([NO_DETECTION], ["4d"], r"metrics.*\['4d'\]", id="metric"),
    ],
)
def test_wrong_arguments(found, metrics, message):
    with pytest.raises(ValueError, match=message):
        evaluate([NOTHING], found, metrics=metrics)


def test_overlaps_in_small_blocks_are_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    truth = [random_frame(rng, is_detection=False) for _ in range(30)]
    found = [random_frame(rng, is_detection=True) for _ in range(30)]
    expected = as_official(evaluate(truth, found))
    monkeypatch.setattr(matching, "PAIRS_AT_ONCE", 3)
    assert as_official(evaluate(truth, found)) == expected
