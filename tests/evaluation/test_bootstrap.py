"""Intervals of mean AP over frames, against scoring each draw by itself."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_makers import objects_of

from perception.core.structures import Objects
from perception.evaluation.detection import bootstrap, matching
from perception.evaluation.detection.bootstrap import mean_ap_interval
from perception.evaluation.detection.kitti_ap import evaluate, mean_ap
from perception.evaluation.detection.rules import (
    KITTI_DIFFICULTIES,
    rules_with_overlaps,
)

CLASSES = rules_with_overlaps({"Car": 0.5, "Cyclist": 0.5})
MODERATE = KITTI_DIFFICULTIES[1]
BOX = [0.0, 0.0, 60.0, 60.0]


def random_frame(rng) -> tuple[Objects, Objects]:
    """Labels of two classes, most of them found, and false detections."""
    count = rng.integers(0, 6)
    names = rng.choice(["Car", "Cyclist", "Van", "DontCare"], count)
    corner = rng.random((count, 2)) * 300
    boxes_px = np.hstack([corner, corner + 20 + rng.random((count, 2)) * 60])
    truth = replace(
        Objects.from_boxes(names, boxes_px),
        truncation=np.zeros(count),
        occlusion=rng.integers(0, 3, count),
    )
    seen = rng.random(count) < 0.7
    false = rng.random((6, 2)) * 300
    found = np.vstack(
        [
            boxes_px[seen] + rng.normal(size=(seen.sum(), 4)) * 4,
            np.hstack([false, false + 40]),
        ]
    )
    said = np.concatenate([names[seen], rng.choice(["Car", "Cyclist"], 6)])
    return truth, Objects.from_boxes(said, found, rng.random(len(found)))


def test_a_draw_is_scored_as_if_its_frames_were_a_data_set():
    rng = np.random.default_rng(3)
    labels, found = zip(*(random_frame(rng) for _ in range(40)), strict=True)
    truth, detections = matching.stack(labels), matching.stack(found)
    everything = np.ones(len(truth.frame), bool)
    pairs = matching.overlapping_pairs(truth, detections, "2d", everything)
    close = pairs.select(pairs.overlap > 0.5)  # of both classes
    counts = [
        bootstrap._count(truth, detections, close, rule, MODERATE, 40)
        for rule in CLASSES
    ]
    for _ in range(5):
        weights = rng.multinomial(40, np.full(40, 1 / 40))
        drawn = np.repeat(np.arange(40), weights)
        expected = evaluate(
            [labels[i] for i in drawn],
            [found[i] for i in drawn],
            classes=CLASSES,
            metrics=("2d",),
        )
        for rule, count in zip(CLASSES, counts, strict=True):
            assert count.aps(weights[None])[0] == pytest.approx(
                expected[rule.name]["2d"]["moderate"].r40
            )


def test_the_interval_holds_the_figure_and_shrinks_with_more_frames():
    rng = np.random.default_rng(0)
    widths = []
    for count in (80, 320):
        labels, found = zip(*(random_frame(rng) for _ in range(count)), strict=True)
        low, high = mean_ap_interval(
            labels, found, classes=CLASSES, difficulty=MODERATE
        )
        result = evaluate(labels, found, classes=CLASSES, metrics=("2d",))
        assert 0 <= low < mean_ap(result) < high <= 100
        widths.append(high - low)
    assert widths[1] < widths[0]


def test_frames_that_are_all_alike_leave_no_doubt():
    truth = [objects_of("Car", [BOX])] * 50
    found = [objects_of("Car", [BOX], [0.9])] * 50
    what = {"classes": CLASSES, "difficulty": MODERATE}
    assert mean_ap_interval(truth, found, **what) == (100, 100)
    assert mean_ap_interval(truth[:1], found[:1], **what) is None
    nothing = [objects_of("Van", [BOX])] * 3
    assert mean_ap_interval(nothing, found[:3], **what) is None


@pytest.mark.parametrize("off_m, limit_m, ap", [(1.9, 2.0, 100), (2.1, 2.0, 0)])
def test_of_boxes_in_metres_by_centre_distance(off_m, limit_m, ap):
    """All frames alike: an object said to be so far from where it is."""

    def car(x_m, scores=None):
        space = np.array([[x_m, 1.6, 20.0, 1.5, 1.8, 4.0, 0.3]])
        box = np.array([[0.0, 0, 60, 60]])
        flat = Objects.from_boxes(["Car"], box, scores, space)
        known = dict(truncation=np.zeros(1), occlusion=np.zeros(1, int))
        return flat if scores is not None else replace(flat, **known)

    truth, found = [car(0.0)] * 50, [car(off_m, np.array([0.9]))] * 50
    what = {"classes": CLASSES, "difficulty": MODERATE}
    assert mean_ap_interval(truth, found, **what, limit_m=limit_m) == (ap, ap)
    assert mean_ap_interval(truth, found, **what) == (100, 100)
    assert mean_ap_interval(truth, found, **what, metric="3d") == (0, 0)
