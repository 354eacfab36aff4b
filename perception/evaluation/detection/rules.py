"""KITTI's object benchmark as values: who is counted, and what counts as found.

The rules are those of the development kit that accompanies Geiger, Lenz, Urtasun,
"Are we ready for autonomous driving?" (CVPR 2012). Everything here is a plain value:
another data set passes its own classes, overlaps and difficulties.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from perception.core.structures import class_key

METRICS = ("2d", "aos", "bev", "3d")
"""Image boxes; their orientation; ground-plane rectangles; boxes in space."""

REGION_NAME = "DontCare"
"""Label of a region in which detections are neither right nor wrong."""


@dataclass(frozen=True)
class Difficulty:
    """Which ground truth has to be found; harder objects may be found or not.

    Attributes:
        name: How tables call it.
        min_height_px: Smallest height of an image box, also of a detection's.
        max_occlusion: Largest occlusion level (see ``Objects.occlusion``).
        max_truncation: Largest truncation, 0 … 1.
        depth_m: Smallest and largest distance along the optical axis, which must be
            labelled; None: any. Detections have none, so that a false one counts in
            every band of distances.
    """

    name: str
    min_height_px: float
    max_occlusion: int
    max_truncation: float
    depth_m: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.depth_m is not None and not self.depth_m[0] < self.depth_m[1]:
            raise ValueError(
                f"difficulty {self.name!r}: depth_m must be (low, high), got "
                f"{self.depth_m}"
            )

    def in_band(self, depth_m: np.ndarray) -> np.ndarray:
        """Which distances (N,) in metres belong to it: from low to just below high."""
        low, high = self.depth_m or (-np.inf, np.inf)
        return (depth_m >= low) & (depth_m < high)


@dataclass(frozen=True)
class ClassRule:
    """How one class is scored. Names are compared without regard to case.

    Attributes:
        name: The class.
        min_overlap: For each metric the intersection over union that a detection
            must exceed, at least 0; ``aos`` uses that of ``2d``.
        neighbours: Classes so similar that detecting them is neither right nor
            wrong.
    """

    name: str
    min_overlap: Mapping[str, float]
    neighbours: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wrong = {k: v for k, v in self.min_overlap.items() if not 0 <= v < 1}
        if wrong:
            raise ValueError(
                f"class {self.name!r}: overlaps must be in [0, 1), got {wrong}"
            )

    def overlap_for(self, metric: str) -> float:
        """The least overlap for one of ``METRICS``."""
        return self.min_overlap["2d" if metric == "aos" else metric]


def _same_everywhere(overlap: float) -> dict[str, float]:
    return {"2d": overlap, "bev": overlap, "3d": overlap}


KITTI_DIFFICULTIES = (
    Difficulty("easy", min_height_px=40, max_occlusion=0, max_truncation=0.15),
    Difficulty("moderate", min_height_px=25, max_occlusion=1, max_truncation=0.30),
    Difficulty("hard", min_height_px=25, max_occlusion=2, max_truncation=0.50),
)

KITTI_CLASSES = (
    ClassRule("Car", _same_everywhere(0.7), neighbours=("Van",)),
    ClassRule("Pedestrian", _same_everywhere(0.5), neighbours=("Person_sitting",)),
    ClassRule("Cyclist", _same_everywhere(0.5)),
)


def rules_with_overlaps(overlaps: Mapping[str, float]) -> tuple[ClassRule, ...]:
    """Rules with one overlap per class for every metric, and KITTI's neighbours.

    A class that KITTI does not score has no neighbours.
    """
    neighbours = {class_key(rule.name): rule.neighbours for rule in KITTI_CLASSES}
    return tuple(
        ClassRule(name, _same_everywhere(overlap), neighbours.get(class_key(name), ()))
        for name, overlap in overlaps.items()
    )


def kitti_rules(names: Iterable[str]) -> tuple[ClassRule, ...]:
    """KITTI's own rules for those of ``names`` that KITTI scores, in their order."""
    known = {class_key(rule.name): rule for rule in KITTI_CLASSES}
    return tuple(
        ClassRule(name, rule.min_overlap, rule.neighbours)
        for name in names
        if (rule := known.get(class_key(name))) is not None
    )


@dataclass(frozen=True)
class Scoring:
    """How detections are judged.

    Attributes:
        overlaps: For each class the overlap that a detection must exceed in the
            headline figures.
        difficulties: What has to be found.
        headline: Name of the difficulty that mean AP is about.
        score_threshold: Detections below it do not count for per-frame success.
        metric: ``accuracy`` for classifiers, whose only detection is their answer: the
            figures are then shares of samples, of all and of each class.
    """

    overlaps: Mapping[str, float]
    difficulties: tuple[Difficulty, ...] = KITTI_DIFFICULTIES
    headline: str = "moderate"
    score_threshold: float = 0.3
    metric: Literal["ap", "accuracy"] = "ap"

    @classmethod
    def of_classifier(cls, classes: Iterable[str]) -> Scoring:
        """How the answers of a classifier are judged."""
        every = Difficulty("all", 0.0, 3, 1.0)
        overlaps = dict.fromkeys(classes, 0.5)
        return cls(overlaps, (every,), every.name, 0.0, "accuracy")

    @property
    def figure(self) -> str:
        """What tables call the figure that all is about."""
        return "accuracy" if self.metric == "accuracy" else "mean AP"

    @property
    def explained(self) -> str:
        """The same in full."""
        if self.metric == "accuracy":
            return "accuracy in percent"
        overlaps = ", ".join(f"{n} {v:g}" for n, v in self.overlaps.items())
        return f"mean AP in percent (R40, {self.headline}; overlaps {overlaps})"

    @property
    def rules(self) -> dict[str, tuple[ClassRule, ...]]:
        """The rules behind ``headline`` and ``kitti`` figures."""
        return {
            "headline": rules_with_overlaps(self.overlaps),
            "kitti": kitti_rules(self.overlaps),
        }
