"""Accuracy where detectors have AP: in validation and in every table."""

import numpy as np
import pytest
import torch

from perception.core.structures import Objects
from perception.evaluation.classification.accuracy import AccuracyMetric, hits
from perception.evaluation.detection.rules import Scoring
from perception.evaluation.robustness.figures import attack_result
from perception.evaluation.robustness.records import FrameRecord, Measured
from perception.evaluation.task_table import interval


def answer(name, score=None):
    scores = None if score is None else np.array([score])
    return Objects.from_boxes([name], [[0, 0, 4, 4]], scores)


def record(n, truth, clean, attacked):
    return FrameRecord(
        frame_id=str(n),
        index=n,
        truth=answer(truth),
        clean=answer(clean, 0.2),
        attacked=answer(attacked, 0.9),
        gate_clean=None,
        gate_attacked=None,
        loss_clean=1.0,
        loss_attacked=2.0,
        value=2.0,
        change={"ear": {"x": 1.0}},
        seconds=0.1,
    )


def test_the_likeliest_answer_counts():
    truth = [answer("a"), answer("a"), answer("b")]
    both = Objects.from_boxes(["a", "b"], [[0, 0, 4, 4]] * 2, np.array([0.4, 0.6]))
    none = Objects.from_boxes([], np.zeros((0, 4)), np.zeros(0))
    assert hits(truth, [answer("a", 0.1), both, none]).tolist() == [True, False, False]


def test_figures_of_an_attack():
    records = [
        record(0, "a", "a", "b"),
        record(1, "a", "a", "a"),
        record(2, "b", "a", "a"),
        record(3, "b", "b", "a"),
    ]
    threat = dict(type="PGD", threat=dict(goal="detection"))
    measured = Measured("ear_pgd", ("ear",), threat, records)
    scoring = Scoring.of_classifier(["a", "b", "c"])
    result = attack_result(measured, ["ear"], scoring)
    assert result.ap.clean.headline.mean == 75 and result.mean == 25
    of_class = result.ap.attacked.headline.classes
    assert (of_class["a"]["all"].r40, of_class["b"]["all"].r40) == (50, 0)
    assert of_class["c"]["all"].r40 is None and of_class["c"]["all"].objects == 0
    assert (result.success.found_clean, result.success.lost) == (3, 2)
    assert scoring.explained == "accuracy in percent"


def test_the_metric():
    metric = AccuracyMetric()
    metric.dataset_meta = {"classes": ("a", "b")}
    for truth, label in (("a", 0), ("a", 1), ("b", 1)):
        found = dict(
            labels=torch.tensor([label]),
            bboxes=torch.tensor([[0.0, 0.0, 4.0, 4.0]]),
            scores=torch.tensor([0.5]),
        )
        metric.process(None, [dict(pred_instances=found, objects=answer(truth))])
    figures = metric.evaluate(3)
    assert figures["accuracy/top1"] == pytest.approx(200 / 3)
    assert figures["accuracy/top1_a"] == 50 and figures["accuracy/top1_b"] == 100


def test_intervals_of_seeds_and_samples():
    # 1.96 * sqrt(80 * 20 / 400) of the samples alone; the seeds add their own.
    assert interval([80.0], 400) == "80.0 ± 3.9"
    assert interval([78.0, 82.0], 400) == "80.0 ± 5.5"  # sqrt(4 + 8 / 2) * 1.96
    assert interval([None], 400) == "–"
