"""Who detected what: KITTI's greedy assignment of detections to ground truth.

All frames are handled at once, laid end to end. Within a frame the assignment is
sequential (each ground truth takes the best detection that is still free), so the
loop runs over the n-th ground truth of every frame together, for all score
thresholds together.

Shape letters: N objects; G ground-truth objects, D detections, P overlapping pairs,
each of all frames; T score thresholds; M ground truths with at least one candidate, K
the most candidates that one of them has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from perception.core.structures import Objects, class_key
from perception.evaluation.detection.overlaps import SIZES
from perception.evaluation.detection.rules import REGION_NAME, ClassRule, Difficulty

PAIRS_AT_ONCE = 1_000_000
"""Overlaps computed in one go; bounds the memory to some 200 MB."""


@dataclass(frozen=True)
class Stack:
    """The objects of all frames laid end to end.

    Attributes:
        objects: N objects, frame after frame.
        frame: (N,) index of each object's frame, ascending.
        names: (N,) class names in lower case.
    """

    objects: Objects
    frame: np.ndarray
    names: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """(N,) confidences.

        Raises:
            ValueError: If these are not detections.
        """
        if self.objects.scores is None:
            raise ValueError("detections must have scores")
        return self.objects.scores

    def is_any(self, *names: str) -> np.ndarray:
        """(N,) whether an object's class is one of ``names``, regardless of case."""
        return np.isin(self.names, [class_key(name) for name in names])


@dataclass(frozen=True)
class Pairs:
    """Ground truths and detections of the same frame that overlap.

    Attributes:
        truth: (P,) index into the G ground truths, ascending.
        detection: (P,) index into the D detections.
        overlap: (P,) intersection over union, above 0; over the detection's own
            size where the ground truth is a region to disregard.
    """

    truth: np.ndarray
    detection: np.ndarray
    overlap: np.ndarray

    def select(self, keep: np.ndarray | slice) -> Pairs:
        """The pairs that a mask, a slice or an index array picks, in order."""
        return Pairs(self.truth[keep], self.detection[keep], self.overlap[keep])


def stack(frames: Sequence[Objects]) -> Stack:
    """Lay the objects of all frames end to end."""
    none = Objects.from_boxes(np.zeros(0, object), np.zeros((0, 4)), np.zeros(0))
    scored = all(objects.scores is not None for objects in frames)
    columns = {
        column.name: np.concatenate(
            [getattr(none, column.name)]
            + [getattr(objects, column.name) for objects in frames]
        )
        for column in fields(Objects)
        if scored or column.name != "scores"
    }
    objects = Objects(**columns)
    frame = np.repeat(np.arange(len(frames)), [len(objects) for objects in frames])
    names = np.array([class_key(str(name)) for name in objects.names], dtype=str)
    return Stack(objects, frame, names)


def overlapping_pairs(
    truth: Stack, detections: Stack, metric: str, of_interest: np.ndarray
) -> Pairs:
    """All pairs of one frame with an overlap above 0.

    Args:
        truth: G ground truths.
        detections: D detections.
        metric: ``2d``, ``bev`` or ``3d``.
        of_interest: (G,) ground truths to consider.
    """
    return _joined(
        (*rows, _overlaps(truth, detections, metric, *rows))
        for rows in _of_same_frame(truth, detections, of_interest)
    )


def near_pairs(
    truth: Stack, detections: Stack, limit_m: float, of_interest: np.ndarray
) -> Pairs:
    """All pairs of one frame whose centres are less than so far apart on the ground.

    Their ``overlap`` is 1 for the same centre and falls to 0 at the limit.

    Args:
        truth: G ground truths.
        detections: D detections.
        limit_m: In metres.
        of_interest: (G,) ground truths to consider.
    """

    def nearness(truths: np.ndarray, found: np.ndarray) -> np.ndarray:
        a, b = truth.objects.location_m[truths], detections.objects.location_m[found]
        nearness = 1 - np.hypot(a[:, 0] - b[:, 0], a[:, 2] - b[:, 2]) / limit_m
        # What is not known in space lies at -1000 m, as do regions to disregard.
        return np.where(a[:, 0] == -1000, 0, nearness)

    return _joined(
        (*rows, nearness(*rows))
        for rows in _of_same_frame(truth, detections, of_interest)
    )


def _of_same_frame(
    truth: Stack, detections: Stack, of_interest: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of ground truths and detections of one frame, some pairs at a time."""
    indices = np.flatnonzero(of_interest)
    begin = np.searchsorted(detections.frame, truth.frame[indices], side="left")
    end = np.searchsorted(detections.frame, truth.frame[indices], side="right")
    block = np.cumsum(end - begin) // PAIRS_AT_ONCE
    for number in np.unique(block):
        mask = block == number
        yield (
            np.repeat(indices[mask], (end - begin)[mask]),
            _ranges(begin[mask], end[mask]),
        )


def _joined(parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Pairs:
    """The pairs of all parts with an overlap above 0."""
    hits = []
    for part in parts:
        hit = part[2] > 0
        hits.append(tuple(column[hit] for column in part))
    if not hits:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return Pairs(*(np.concatenate(column) for column in zip(*hits, strict=True)))


def _overlaps(
    truth: Stack,
    detections: Stack,
    metric: str,
    truth_index: np.ndarray,
    detection_index: np.ndarray,
) -> np.ndarray:
    """(P,) overlaps of the given pairs of indices."""
    shared, truth_size, detection_size = SIZES[metric](
        truth.objects.select(truth_index), detections.objects.select(detection_index)
    )
    is_region = truth.is_any(REGION_NAME)[truth_index]
    whole = detection_size + np.where(is_region, 0, truth_size - shared)
    return np.divide(shared, whole, out=np.zeros_like(whole), where=shared > 0)


def _ranges(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The integers of all [begin, end) after one another."""
    count = end - begin
    return np.arange(count.sum()) + np.repeat(begin - (np.cumsum(count) - count), count)


@dataclass(frozen=True)
class Roles:
    """What everything counts as, for one class and difficulty.

    Attributes:
        wanted: (G,) has to be found.
        optional: (G,) may be found: too hard, or of a neighbouring class.
        scored: (D,) is right or wrong.
        small: (D,) too small to be wrong. As in KITTI's own evaluation that holds
            for detections of any class.
    """

    wanted: np.ndarray
    optional: np.ndarray
    scored: np.ndarray
    small: np.ndarray

    def part(self, truth: slice, detections: slice) -> Roles:
        """Those of some frames."""
        found = self.scored[detections], self.small[detections]
        return Roles(self.wanted[truth], self.optional[truth], *found)


@dataclass(frozen=True)
class Assignment:
    """The detection that each ground truth took, for T thresholds.

    Attributes:
        truth: (M,) ground truths with candidates.
        taken_by: (M, T) index of the detection, D where none was free.
        free: (D, T) detection reaches the threshold and was not taken.
    """

    truth: np.ndarray
    taken_by: np.ndarray
    free: np.ndarray


@dataclass(frozen=True)
class FrameMatch:
    """What became of one frame's ground truth and detections, for N and D of them.

    Attributes:
        truth: (N,) ``found``, ``missed`` or ``ignored``: may be found or not, or was
            taken by a detection that is ignored.
        taken_by: (N,) index of the detection that a ground truth took, -1 for none.
        detections: (D,) ``right``, ``wrong``, ``rejected`` for a score below the
            threshold, or ``ignored``: of another class, too small, on a region to
            disregard or on an ignored ground truth.
    """

    truth: np.ndarray
    taken_by: np.ndarray
    detections: np.ndarray


def roles(
    truth: Stack, detections: Stack, rule: ClassRule, difficulty: Difficulty
) -> Roles:
    """Sort out what has to be found and what may be found or is disregarded."""
    objects = truth.objects
    height_px = objects.boxes_px[:, 3] - objects.boxes_px[:, 1]
    too_hard = (
        (height_px < difficulty.min_height_px)
        | (objects.occlusion > difficulty.max_occlusion)
        | (objects.truncation > difficulty.max_truncation)
        | ~difficulty.in_band(objects.location_m[:, 2])
    )
    same = truth.is_any(rule.name)
    boxes = detections.objects.boxes_px
    small = np.abs(boxes[:, 3] - boxes[:, 1]) < difficulty.min_height_px
    return Roles(
        wanted=same & ~too_hard,
        optional=(same & too_hard) | truth.is_any(*rule.neighbours),
        scored=detections.is_any(rule.name) & ~small,
        small=small,
    )


def admissible(close: Pairs, role: Roles) -> Pairs:
    """The pairs whose ground truth and detection both take part."""
    truth, detection = role.wanted | role.optional, role.scored | role.small
    return close.select(truth[close.truth] & detection[close.detection])


def by_score(pairs: Pairs, scores: np.ndarray) -> Pairs:
    """Each ground truth's candidates, the most confident first."""
    order = np.lexsort((pairs.detection, -scores[pairs.detection], pairs.truth))
    return pairs.select(order)


def by_overlap(pairs: Pairs, small: np.ndarray) -> Pairs:
    """Each ground truth's candidates, the best overlap first, small ones at the end.

    Small detections keep their order in the file, as KITTI's evaluation takes them.
    """
    is_small = small[pairs.detection]
    overlap = np.where(is_small, 0, pairs.overlap)
    order = np.lexsort((pairs.detection, -overlap, is_small, pairs.truth))
    return pairs.select(order)


def assign(
    candidates: Pairs, frame: np.ndarray, scores: np.ndarray, thresholds: np.ndarray
) -> Assignment:
    """Let each ground truth, in order, take its first candidate that is still free.

    Args:
        candidates: Admissible pairs, each ground truth's in order of preference.
        frame: (G,) frame of each ground truth.
        scores: (D,) confidence of each detection.
        thresholds: (T,) detections with a lower score do not exist.
    """
    truth, start, count = np.unique(
        candidates.truth, return_index=True, return_counts=True
    )
    nobody = len(scores)
    table = np.full((len(truth), max(count, default=0)), nobody)  # (M, K)
    row = np.repeat(np.arange(len(truth)), count)
    table[row, np.arange(len(row)) - start[row]] = candidates.detection
    free = np.vstack(  # (D + 1, T), the last row stands for "nobody"
        [scores[:, None] >= thresholds, np.zeros((1, len(thresholds)), bool)]
    )
    taken_by = np.full((len(truth), len(thresholds)), nobody)
    first_of_frame = np.searchsorted(frame[truth], frame[truth])
    turn = np.arange(len(truth)) - first_of_frame
    for number in range(max(turn, default=-1) + 1):
        rows = np.flatnonzero(turn == number)
        is_free = free[table[rows]]  # (rows, K, T)
        choice = is_free.argmax(axis=1)  # (rows, T)
        taker = np.where(is_free.any(axis=1), table[rows[:, None], choice], nobody)
        taken_by[rows] = taker
        np.put_along_axis(free, taker, False, axis=0)
    return Assignment(truth, taken_by, free[:-1])


def true_positives(assignment: Assignment, role: Roles) -> np.ndarray:
    """(M, T) a ground truth that has to be found took a detection that counts."""
    scored = np.append(role.scored, False)
    return role.wanted[assignment.truth][:, None] & scored[assignment.taken_by]


def on_regions(truth: Stack, detections: Stack, close: Pairs) -> np.ndarray:
    """(D,) detections that lie, by one of the pairs, in a region to disregard."""
    excused = np.zeros(len(detections.objects), bool)
    excused[close.detection[truth.is_any(REGION_NAME)[close.truth]]] = True
    return excused


def match_frame(
    ground_truth: Objects,
    detections: Objects,
    rule: ClassRule,
    difficulty: Difficulty,
    score_threshold: float,
    *,
    metric: str = "2d",
) -> FrameMatch:
    """Sort out one frame by the rules that decide precision and recall.

    Args:
        ground_truth: All labels of the frame, DontCare and other classes included.
        detections: The frame's detections, with scores.
        rule: The class to look at.
        difficulty: What has to be found.
        score_threshold: Detections with a lower score are rejected.
        metric: ``2d``, ``bev`` or ``3d``: which overlap counts.
    """
    truth, found = stack([ground_truth]), stack([detections])
    pairs = overlapping_pairs(truth, found, metric, np.ones(len(ground_truth), bool))
    close = pairs.select(pairs.overlap > rule.overlap_for(metric))
    role = roles(truth, found, rule, difficulty)
    candidates = by_overlap(admissible(close, role), role.small)
    scores = found.scores
    outcome = assign(candidates, truth.frame, scores, np.array([score_threshold]))
    is_hit = true_positives(outcome, role)[:, 0]

    nobody = len(detections)
    taken_by = np.full(len(ground_truth), nobody)
    taken_by[outcome.truth] = outcome.taken_by[:, 0]
    truth_state = np.where(role.wanted & (taken_by == nobody), "missed", "ignored")
    truth_state[outcome.truth[is_hit]] = "found"
    is_wrong = role.scored & outcome.free[:, 0] & ~on_regions(truth, found, close)
    state = np.where(is_wrong, "wrong", "ignored").astype("<U8")
    state[outcome.taken_by[is_hit, 0]] = "right"
    state[scores < score_threshold] = "rejected"
    return FrameMatch(truth_state, np.where(taken_by == nobody, -1, taken_by), state)
