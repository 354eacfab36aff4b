"""Which detections are right, which are false, and what was missed: boxes to draw.

Judged by the same rules as the figures, see
``perception.evaluation.detection.matching``.

Shape letters: N labelled objects; D detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perception.core.structures import Objects
from perception.evaluation.detection.matching import match_frame
from perception.evaluation.detection.rules import (
    KITTI_DIFFICULTIES,
    ClassRule,
    Difficulty,
    rules_with_overlaps,
)
from perception.visualization.boxes import BoxLayer


@dataclass(frozen=True)
class Judge:
    """How detections are judged in pictures.

    Attributes:
        rules: What counts as found, per class; other classes are ignored.
        difficulty: What has to be found.
        score_threshold: Detections below it are not drawn.
    """

    rules: Sequence[ClassRule]
    difficulty: Difficulty = KITTI_DIFFICULTIES[-1]
    score_threshold: float = 0.3

    @classmethod
    def at_half_overlap(cls, classes: Sequence[str]) -> Judge:
        """An overlap of 0.5 for each class."""
        return cls(rules_with_overlaps(dict.fromkeys(classes, 0.5)))

    def __call__(self, truth: Objects | None, detections: Objects) -> Verdict:
        """Judge one frame; without labels everything is merely detected."""
        scores = detections.scores
        if scores is not None:
            detections = detections.select(scores >= self.score_threshold)
        if truth is None:
            status = np.full(len(detections), "detected", dtype=object)
            return Verdict(None, np.zeros(0, dtype=object), detections, status, 0)
        nothing, wanted = detections.select(np.zeros(len(detections), bool)), 0
        truth_state = np.full(len(truth), "ignored", dtype=object)
        state = np.full(len(detections), "ignored", dtype=object)
        for rule in self.rules:
            match = match_frame(
                truth, detections, rule, self.difficulty, self.score_threshold
            )
            none = match_frame(
                truth, nothing, rule, self.difficulty, self.score_threshold
            )
            wanted += int((none.truth == "missed").sum())
            for word in ("found", "missed"):
                truth_state[match.truth == word] = word
            state[match.detections == "right"] = "correct"
            state[match.detections == "wrong"] = "false"
        return Verdict(truth, truth_state, detections, state, wanted)


@dataclass(frozen=True)
class Verdict:
    """What became of N labels and D detections of one frame.

    Attributes:
        truth: The labels, None where there are none.
        truth_state: (N,) ``found``, ``missed`` or ``ignored``.
        detections: Those that reach the score threshold.
        state: (D,) ``correct``, ``false``, ``ignored`` or ``detected`` (not judged).
        wanted: How many labels have to be found. More than are found or missed, if a
            detection that is ignored lies on one.
    """

    truth: Objects | None
    truth_state: np.ndarray
    detections: Objects
    state: np.ndarray
    wanted: int

    def count(self, word: str) -> int:
        """How many labels and detections are in a state."""
        return int((self.truth_state == word).sum() + (self.state == word).sum())

    def layers(self) -> list[BoxLayer]:
        """2D boxes: labels below, detections above; only what needs it is tagged."""
        layers = []
        if self.truth is not None:
            names = {"found": "ground_truth", "missed": "missed", "ignored": "ignored"}
            for word in ("ignored", "found", "missed"):
                objects = self.truth.select(self.truth_state == word)
                layers.append(BoxLayer(objects, names[word], tagged=word == "missed"))
        return [*layers, BoxLayer(self.detections, list(self.state))]

    def truth_in_space(self) -> list[BoxLayer]:
        """3D boxes of the labels, styled by whether they were found."""
        if self.truth is None:
            return []
        styles = {"found": "correct", "missed": "missed", "ignored": "ignored"}
        return [BoxLayer(self.truth, [styles[word] for word in self.truth_state])]
