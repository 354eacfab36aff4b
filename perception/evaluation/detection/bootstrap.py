"""How far mean AP may be off because these frames were taken and not others.

The bootstrap over frames (Efron 1979): frames are drawn anew, with replacement, and
each draw is scored by KITTI's rules, its own score thresholds included. What is right
and wrong in a frame depends on that frame and a threshold alone, so frames are matched
once, at every threshold that a draw can pick, and a draw only sums counts.

Shape letters: F frames, T thresholds, B draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from perception.core.structures import Objects
from perception.evaluation.detection import matching
from perception.evaluation.detection.kitti_ap import recall_thresholds, summarise
from perception.evaluation.detection.rules import REGION_NAME, ClassRule, Difficulty

DRAWS = 200
LEVEL = 0.95
_FRAMES_AT_ONCE = 2000  # bounds the memory: each takes as much as it has thresholds
_MOST_THRESHOLDS = 400  # beyond, those of a draw are rounded to the next of these


@dataclass(frozen=True)
class _Counts:
    """What a class's detections in each frame are at each threshold.

    Attributes:
        objects: (F,) objects to find.
        hits: (F, T) objects found at each threshold.
        wrong: (F, T) false detections.
        thresholds: (T,) ascending.
        scores: Score of each object found, whatever the threshold.
        frames: Its frame.
    """

    objects: np.ndarray
    hits: np.ndarray
    wrong: np.ndarray
    thresholds: np.ndarray
    scores: np.ndarray
    frames: np.ndarray

    def aps(self, draws: np.ndarray) -> list[float | None]:
        """AP (R40) of draws (B, F) that hold each frame so often; None if empty."""
        # Sums of whole numbers, exact in float64, whose product is much faster.
        hits, wrong = (draws.astype(float) @ one for one in (self.hits, self.wrong))
        return [
            self._ap(weights, *counts)
            for weights, *counts in zip(draws, hits, wrong, strict=True)
        ]

    def _ap(
        self, weights: np.ndarray, hits: np.ndarray, wrong: np.ndarray
    ) -> float | None:
        """Of one draw, with its counts (T,) at each threshold."""
        objects = int(weights @ self.objects)
        if not objects:
            return None
        scores = np.repeat(self.scores, weights[self.frames])
        picked = recall_thresholds(scores, objects)
        at = np.searchsorted(self.thresholds, picked, side="right") - 1
        return summarise(hits[at], hits[at] + wrong[at], objects).r40


def mean_ap_interval(
    ground_truth: Sequence[Objects],
    detections: Sequence[Objects],
    *,
    classes: Sequence[ClassRule],
    difficulty: Difficulty,
    metric: Literal["2d", "bev", "3d"] = "2d",
    limit_m: float | None = None,
) -> tuple[float, float] | None:
    """95 % interval of mean AP (R40, percent) over frames like these.

    The same frames and detections always give the same interval.

    Args:
        ground_truth: All labels of each of F frames.
        detections: The detections of the same frames, with scores.
        classes: The classes and their rules.
        difficulty: What has to be found.
        metric: ``2d``, ``bev`` or ``3d``.
        limit_m: AP by centre distance on the ground, this far, instead.

    Returns:
        Its ends; None with fewer than two frames, or nothing to find.
    """
    count = len(ground_truth)
    truth, found = matching.stack(ground_truth), matching.stack(detections)
    named = [name for rule in classes for name in (rule.name, *rule.neighbours)]
    if limit_m is None:
        of_interest = truth.is_any(REGION_NAME, *named)
        pairs = matching.overlapping_pairs(truth, found, metric, of_interest)
        close = [pairs.select(pairs.overlap > r.overlap_for(metric)) for r in classes]
    else:
        pairs = matching.near_pairs(truth, found, limit_m, truth.is_any(*named))
        close = [pairs] * len(classes)
    counts = [
        _count(truth, found, own, rule, difficulty, count)
        for own, rule in zip(close, classes, strict=True)
    ]
    if count < 2 or not any(one.objects.any() for one in counts):
        return None
    rng = np.random.default_rng(0)
    draws = rng.multinomial(count, np.full(count, 1 / count), size=DRAWS)  # (B, F)
    means = []
    for of_draw in zip(*(one.aps(draws) for one in counts), strict=True):
        known = [one for one in of_draw if one is not None]
        means += [np.mean(known)] if known else []
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def share_interval(
    hits: Sequence[int], objects: Sequence[int]
) -> tuple[float, float] | None:
    """95 % interval of the share of objects that are hits, over frames like these.

    Args:
        hits: Of each of F frames.
        objects: Of each frame.

    Returns:
        Its ends within 0 and 1; None with fewer than two frames, or without objects.
    """
    count = len(hits)
    if count < 2 or not sum(objects):
        return None
    rng = np.random.default_rng(0)
    draws = rng.multinomial(count, np.full(count, 1 / count), size=DRAWS)
    there = draws @ np.asarray(objects)
    shares = (draws @ np.asarray(hits))[there > 0] / there[there > 0]
    low, high = np.quantile(shares, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _count(
    truth: matching.Stack,
    found: matching.Stack,
    close: matching.Pairs,
    rule: ClassRule,
    difficulty: Difficulty,
    count: int,
) -> _Counts:
    role = matching.roles(truth, found, rule, difficulty)
    candidates = matching.admissible(close, role)
    wrong = role.scored & ~matching.on_regions(truth, found, close)
    scores, lowest = found.scores, np.array([-np.inf])
    ordered = matching.by_score(candidates, scores)
    everything = matching.assign(ordered, truth.frame, scores, lowest)
    taken = everything.taken_by[matching.true_positives(everything, role)]
    thresholds = np.unique(scores[taken])
    if len(thresholds) > _MOST_THRESHOLDS:
        kept = np.linspace(0, len(thresholds) - 1, _MOST_THRESHOLDS).astype(int)
        thresholds = thresholds[kept]
    ordered = matching.by_overlap(candidates, role.small)
    hits, wrong_at = (np.zeros((count, len(thresholds))) for _ in range(2))
    for first in range(0, count, _FRAMES_AT_ONCE):
        # Whole frames, whose objects and pairs lie together.
        ends = first, first + _FRAMES_AT_ONCE
        g0, g1 = np.searchsorted(truth.frame, ends)
        d0, d1 = np.searchsorted(found.frame, ends)
        p0, p1 = np.searchsorted(ordered.truth, (g0, g1))
        part = ordered.select(slice(p0, p1))
        own = matching.Pairs(part.truth - g0, part.detection - d0, part.overlap)
        outcome = matching.assign(own, truth.frame[g0:g1], scores[d0:d1], thresholds)
        hit = matching.true_positives(outcome, role.part(slice(g0, g1), slice(d0, d1)))
        _add_by_frame(hits, truth.frame[g0:g1][outcome.truth], hit)
        at = wrong[d0:d1]
        _add_by_frame(wrong_at, found.frame[d0:d1][at], outcome.free[at])
    return _Counts(
        objects=np.bincount(truth.frame[role.wanted], minlength=count),
        hits=hits,
        wrong=wrong_at,
        thresholds=thresholds,
        scores=scores[taken],
        frames=found.frame[taken],
    )


def _add_by_frame(sums: np.ndarray, frames: np.ndarray, counted: np.ndarray) -> None:
    """Add (K, T) of ascending frames (K,) to the sums (F, T) of each frame."""
    if len(frames):
        own, first = np.unique(frames, return_index=True)
        sums[own] += np.add.reduceat(counted, first, axis=0, dtype=sums.dtype)
