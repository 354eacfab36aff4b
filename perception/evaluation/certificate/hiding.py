"""What no attack on one sensor can take away: certified recall of aggregators.

For an object and a sensor that may say anything, a location *vouches* for the object if
whatever that sensor says

1. its class score stays above the thresholds,
2. its box overlaps the object enough, and
3. every location that could outrank it and suppress it in non-maximum suppression
   (possibly a higher score and enough overlap of the two boxes) has a box that overlaps
   the object enough as well, whatever the sensor says.

Then a detection with enough overlap is kept: the vouching location's own, or one that
suppressed it and is kept, which by 3 overlaps the object too. (4) No cut-off by number
may bite: at most ``nms_pre`` scores of its level and ``max_per_img`` detections of the
frame could come before it. The bounds of every number are those of
``Aggregator.bounds``; those of overlaps follow from the smallest and the largest box.

The certificate is about single objects: that a detection overlaps each of them, not
that the evaluation gives every object one of its own.

Shape letters: G objects, L locations of all levels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from perception.evaluation.certificate.bounds import (
    Bounds,
    highest_overlap,
    lowest_overlap,
)


@dataclass(frozen=True)
class Vouching:
    """The locations that vouch for an object.

    Attributes:
        locations: (C,) their numbers.
        scores: (C,) their lowest scores.
    """

    locations: Tensor
    scores: Tensor

    @property
    def score(self) -> float:
        """Up to which score the object stays detected; 0: not at all."""
        return float(self.scores.max()) if len(self.scores) else 0.0


def vouching_locations(
    bounds: Bounds,
    boxes: Tensor,
    labels: Tensor,
    needed: Tensor,
    test_cfg: Any,
    least: float,
) -> list[Vouching]:
    """For each of G objects those that keep it detected, whatever the sensor says.

    Args:
        bounds: What may become of the frame's L locations.
        boxes: (G, 4) objects in pixels of the input.
        labels: (G,) their classes.
        needed: (K,) overlap that a detection of each class must exceed.
        test_cfg: The head's thresholds and limits.
        least: Lower scores are not looked for; 0 or more.
    """
    none = Vouching(labels.new_zeros(0), boxes.new_zeros(0))
    result = [none] * len(boxes)
    if not len(boxes):
        return result
    overlap = lowest_overlap(bounds.inner, bounds.outer, boxes) > needed[labels]
    first = test_cfg["score_thr"]
    possible = (bounds.classes_high > first) & (bounds.scores_high > 0)
    for g, k in enumerate(labels.tolist()):
        sure = bounds.scores_low[:, k] > least
        sure &= overlap[:, g] & (bounds.classes_low[:, k] > first)
        candidates = sure.nonzero().flatten()
        if not len(candidates):
            continue
        low = bounds.scores_low[candidates, k]
        rivals = (possible[:, k] & (bounds.scores_high[:, k] >= low.min())).nonzero()
        rivals = rivals.flatten()
        suppresses = highest_overlap(bounds, candidates, rivals)
        suppresses = suppresses > test_cfg["nms"]["iou_threshold"]
        suppresses &= bounds.scores_high[rivals, k][None] >= low[:, None]
        spoiled = (suppresses & ~overlap[rivals, g][None]).any(dim=1)
        vouches = ~spoiled & _within_counts(bounds, candidates, k, test_cfg)
        result[g] = Vouching(candidates[vouches], low[vouches])
    return result


def certified_scores(vouching: Sequence[Vouching], like: Tensor) -> Tensor:
    """(G,) up to which score each object stays detected, 0: not at all."""
    return like.new_tensor([one.score for one in vouching])


def _within_counts(bounds: Bounds, candidates: Tensor, k: int, test_cfg: Any) -> Tensor:
    """(C,) whether no limit on the number of detections can cut a candidate off."""
    scores = bounds.scores_low[candidates, k]
    classes = bounds.classes_low[candidates, k]
    before = (bounds.scores_high[None] >= scores[:, None, None]).flatten(1).sum(dim=1)
    same_level = bounds.level[None] == bounds.level[candidates][:, None]
    ahead = bounds.classes_high[None] >= classes[:, None, None]
    ahead = (ahead & same_level[..., None]).flatten(1).sum(dim=1)
    return (before <= test_cfg["max_per_img"]) & (ahead <= test_cfg["nms_pre"])
