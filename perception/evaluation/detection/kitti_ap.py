"""Average precision as the KITTI object benchmark computes it, in pure NumPy.

It follows the official evaluation program step by step, peculiarities included:

* scores are sampled at up to 41 recalls, one per ground truth found at most, so with
  n < 41 objects to find even a perfect detector stays at (n - 1) / 40 in R40;
* a small detection of any class may take a ground truth and is never wrong;
* the overlap with a DontCare region is measured over the detection, in every metric.

One deviation: where the program divides 0 by 0 (a threshold at which every detection
is disregarded) the precision is 0 here, not NaN.

Shape letters: as in ``matching``; M ground truths with candidates, T thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perception.core.structures import Objects
from perception.evaluation.detection import matching
from perception.evaluation.detection.matching import (
    Pairs,
    Stack,
    overlapping_pairs,
    stack,
)
from perception.evaluation.detection.rules import (
    KITTI_CLASSES,
    KITTI_DIFFICULTIES,
    METRICS,
    REGION_NAME,
    ClassRule,
    Difficulty,
)

RECALLS = 41


@dataclass(frozen=True)
class AveragePrecision:
    """One cell of the result table.

    Attributes:
        r11: Mean of the precision at recalls 0, 0.1, … 1, in percent.
        r40: Mean of the precision at recalls 0.025, 0.05, … 1, in percent.
        objects: Number of ground truths that had to be found. Without any the
            figures are 0, as in KITTI's program, and mean nothing.
        precision: (41,) precision (orientation similarity for ``aos``) at recalls
            0, 0.025, … 1.
    """

    r11: float
    r40: float
    objects: int
    precision: np.ndarray


Result = dict[str, dict[str, dict[str, AveragePrecision]]]
"""result[class][metric][difficulty]; metrics without data are left out."""


def evaluate(
    ground_truth: Sequence[Objects],
    detections: Sequence[Objects],
    *,
    classes: Sequence[ClassRule] = KITTI_CLASSES,
    metrics: Sequence[str] = METRICS,
    difficulties: Sequence[Difficulty] = KITTI_DIFFICULTIES,
) -> Result:
    """Score the detections of a data set.

    Metrics that :func:`left_out` names are left out.

    Args:
        ground_truth: All labels of each frame, DontCare and other classes included.
        detections: The detections of the same frames, with scores.
        classes: The classes to score and their rules.
        metrics: Some of ``METRICS``.
        difficulties: The difficulties to score.

    Raises:
        ValueError: If the numbers of frames differ, scores are missing or a metric
            is unknown.
    """
    if len(ground_truth) != len(detections):
        raise ValueError(
            f"need detections for every frame, got {len(ground_truth)} frames of "
            f"ground truth and {len(detections)} of detections"
        )
    if unknown := set(metrics) - set(METRICS):
        raise ValueError(f"metrics must be some of {METRICS}, got {sorted(unknown)}")
    truth, found = stack(ground_truth), stack(detections)
    named = [name for rule in classes for name in (rule.name, *rule.neighbours)]
    of_interest = truth.is_any(REGION_NAME, *named)
    result: Result = {rule.name: {} for rule in classes}
    without = _left_out(truth, found, classes)
    for metric in (name for name in metrics if name not in without):
        measure = "2d" if metric == "aos" else metric
        pairs = overlapping_pairs(truth, found, measure, of_interest)
        for rule in classes:
            close = pairs.select(pairs.overlap > rule.overlap_for(metric))
            result[rule.name][metric] = {
                difficulty.name: average_precision(
                    truth, found, close, rule, difficulty, orientation=metric == "aos"
                )
                for difficulty in difficulties
            }
    return result


def left_out(
    ground_truth: Sequence[Objects],
    detections: Sequence[Objects],
    *,
    classes: Sequence[ClassRule] = KITTI_CLASSES,
) -> dict[str, str]:
    """Why metrics cannot be computed, by metric.

    As in KITTI's program ``aos`` needs the orientation (alpha is not -10) of every
    detection, and ``bev`` and ``3d`` the location (not -1000) of one at least; DontCare
    lines among the detections, as in labels used for results, do not count. Unlike that
    program, which takes -10 for an angle, they need those of the labels likewise.
    """
    return _left_out(stack(ground_truth), stack(detections), classes)


def _left_out(
    truth: Stack, found: Stack, classes: Sequence[ClassRule]
) -> dict[str, str]:
    said = found.objects.select(~found.is_any(REGION_NAME))
    known = truth.objects.select(truth.is_any(*(rule.name for rule in classes)))
    missing = {}
    for objects, what in ((known, "labels"), (said, "detections")):
        if (objects.alpha == -10).any():
            missing["aos"] = f"{what} without orientation (alpha is -10)"
        if len(objects) and (objects.location_m[:, 0] == -1000).all():
            missing |= dict.fromkeys(("bev", "3d"), f"{what} without location (-1000)")
    return missing


def mean_ap(
    result: Result,
    metric: str = "2d",
    difficulty: str = "moderate",
    recall: str = "R40",
) -> float:
    """Mean AP in percent over the classes that have objects to find, NaN if none."""
    cells = [
        by_metric[metric][difficulty]
        for by_metric in result.values()
        if metric in by_metric
    ]
    values = [getattr(cell, recall.lower()) for cell in cells if cell.objects]
    return float(np.mean(values)) if values else float("nan")


def average_precision(
    truth: Stack,
    found: Stack,
    close: Pairs,
    rule: ClassRule,
    difficulty: Difficulty,
    *,
    orientation: bool = False,
) -> AveragePrecision:
    """AP of one class at one difficulty, given the sufficiently overlapping pairs.

    Args:
        truth: G ground truths.
        found: D detections.
        close: Which may be taken for each other.
        rule: The class.
        difficulty: What has to be found.
        orientation: Whether true positives count by their orientation's similarity.
    """
    role = matching.roles(truth, found, rule, difficulty)
    candidates = matching.admissible(close, role)
    excused = matching.on_regions(truth, found, close)
    scores = found.scores
    objects = int(role.wanted.sum())

    everything = matching.assign(
        matching.by_score(candidates, scores), truth.frame, scores, np.array([-np.inf])
    )
    is_hit = matching.true_positives(everything, role)
    thresholds = recall_thresholds(scores[everything.taken_by[is_hit]], objects)

    outcome = matching.assign(
        matching.by_overlap(candidates, role.small), truth.frame, scores, thresholds
    )
    is_hit = matching.true_positives(outcome, role)  # (M, T)
    hits = is_hit.sum(axis=0)
    wrong = outcome.free[role.scored & ~excused].sum(axis=0)
    gain = _similarity(outcome, truth, found, is_hit) if orientation else hits
    return summarise(gain, hits + wrong, objects)


def _similarity(
    outcome: matching.Assignment,
    truth: Stack,
    found: Stack,
    is_hit: np.ndarray,
) -> np.ndarray:
    """(T,) sum of the orientation similarities of the (M, T) true positives."""
    row, column = np.nonzero(is_hit)
    detection = outcome.taken_by[row, column]
    turn = truth.objects.alpha[outcome.truth[row]] - found.objects.alpha[detection]
    return np.bincount(
        column, weights=(1 + np.cos(turn)) / 2, minlength=is_hit.shape[1]
    )


def recall_thresholds(scores: np.ndarray, objects: int) -> np.ndarray:
    """The scores at which the recall comes closest to 0, 1/40, 2/40, … 1.

    Args:
        scores: Scores of the true positives when nothing is rejected.
        objects: Number of ground truths to find.

    Returns:
        (T,) descending, T at most 41 and at most the number of scores.
    """
    scores = -np.sort(-scores)
    recall = np.arange(1, len(scores) + 1) / max(objects, 1)
    recall_next = np.append(recall[1:], recall[-1:])
    picked: list[int] = []
    target, begin = 0.0, 0
    while begin < len(scores):
        # The next score would come closer to the target: pass this one over.
        passed = recall_next[begin:] - target < target - recall[begin:]
        passed[-1] = False
        picked.append(begin + int(np.argmin(passed)))
        begin = picked[-1] + 1
        target += 1.0 / (RECALLS - 1)
    return scores[picked]


def summarise(
    gain: np.ndarray, detections: np.ndarray, objects: int
) -> AveragePrecision:
    """AP from the (T,) gains and numbers of counted detections at each threshold."""
    precision = np.zeros(RECALLS)
    np.divide(gain, detections, out=precision[: len(gain)], where=detections > 0)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return AveragePrecision(
        r11=float(100 * precision[::4].mean()),
        r40=float(100 * precision[1:].mean()),
        objects=objects,
        precision=precision,
    )


def as_official(result: Result) -> dict[str, dict[str, dict[str, float]]]:
    """The result under the names that KITTI's program gives its files."""
    suffixes: Mapping[str, str] = {
        "2d": "detection",
        "aos": "orientation",
        "bev": "detection_ground",
        "3d": "detection_3d",
    }
    return {
        f"{name.lower()}_{suffixes[metric]}": {
            difficulty: {"R11": round(cell.r11, 4), "R40": round(cell.r40, 4)}
            for difficulty, cell in cells.items()
        }
        for name, by_metric in result.items()
        for metric, cells in by_metric.items()
    }
