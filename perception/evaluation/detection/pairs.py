"""The objects of many frames laid end to end, and the pairs among them that overlap.

Shape letters: N objects; G ground-truth objects, D detections, P overlapping pairs,
each of all frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from perception.core.structures import Objects
from perception.evaluation.detection.overlaps import SIZES
from perception.evaluation.detection.rules import REGION_NAME

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
        return np.isin(self.names, [name.lower() for name in names])


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

    def select(self, keep: np.ndarray) -> Pairs:
        """The pairs that a mask or an index array picks, in order."""
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
    names = np.char.lower(objects.names.astype(str))
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
    indices = np.flatnonzero(of_interest)
    begin = np.searchsorted(detections.frame, truth.frame[indices], side="left")
    end = np.searchsorted(detections.frame, truth.frame[indices], side="right")
    block = np.cumsum(end - begin) // PAIRS_AT_ONCE
    parts = [
        _overlaps_of_block(
            truth,
            detections,
            metric,
            np.repeat(indices[mask], (end - begin)[mask]),
            _ranges(begin[mask], end[mask]),
        )
        for mask in (block == number for number in np.unique(block))
    ]
    if not parts:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _overlaps_of_block(
    truth: Stack,
    detections: Stack,
    metric: str,
    truth_index: np.ndarray,
    detection_index: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns of ``Pairs`` for the given pairs of indices."""
    shared, truth_size, detection_size = SIZES[metric](
        truth.objects.select(truth_index), detections.objects.select(detection_index)
    )
    is_region = truth.is_any(REGION_NAME)[truth_index]
    whole = detection_size + np.where(is_region, 0, truth_size - shared)
    overlap = np.divide(shared, whole, out=np.zeros_like(whole), where=shared > 0)
    hit = overlap > 0
    return truth_index[hit], detection_index[hit], overlap[hit]


def _ranges(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The integers of all [begin, end) after one another."""
    count = end - begin
    return np.arange(count.sum()) + np.repeat(begin - (np.cumsum(count) - count), count)
