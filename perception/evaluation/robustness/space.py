"""What detections in metres are worth, and how far an attack moves them.

Shape letters: N objects, D detections.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from perception.core.structures import Objects
from perception.evaluation.detection.bootstrap import mean_ap_interval
from perception.evaluation.detection.center_ap import (
    ERRORS_AT_M,
    LIMITS_M,
    evaluate_centers,
    mean_center_ap,
)
from perception.evaluation.detection.kitti_ap import evaluate, mean_ap
from perception.evaluation.detection.matching import match_frame
from perception.evaluation.detection.rules import Scoring
from perception.evaluation.robustness.records import FrameRecord
from perception.evaluation.robustness.results import Displacement, Figure, SpaceAP


def space_ap(
    truth: Sequence[Objects], found: Sequence[Objects], scoring: Scoring
) -> SpaceAP | None:
    """AP of boxes in metres at the headline's overlaps; None for image boxes alone."""
    if all(one.boxes_3d is None for one in found):
        return None
    rules = scoring.rules["headline"]
    result = evaluate(
        truth,
        found,
        classes=rules,
        metrics=("bev", "3d"),
        difficulties=scoring.difficulties,
    )
    level = next(d for d in scoring.difficulties if d.name == scoring.headline)
    centers = evaluate_centers(truth, found, classes=rules, difficulty=level)
    each = [one for one in centers.values() if one.ap[LIMITS_M[0]].objects]
    errors = {
        name: _finite_mean([getattr(one, name) for one in each])
        for name in ("translation_m", "scale", "orientation_rad")
    }
    return SpaceAP(
        bev=_finite(mean_ap(result, "bev", scoring.headline)),
        volume=_finite(mean_ap(result, "3d", scoring.headline)),
        centers={f"{x:g} m": _finite(mean_center_ap(centers, x)) for x in LIMITS_M},
        **errors,
        interval=mean_ap_interval(
            truth, found, classes=rules, difficulty=level, limit_m=ERRORS_AT_M
        ),
    )


def displacement(
    records: Sequence[FrameRecord], scoring: Scoring
) -> Displacement | None:
    """How far the nearest object of each frame that was found is moved by an attack.

    None for image boxes alone. Objects are found by their image boxes, at the headline
    overlap and the score threshold.
    """
    if all(record.clean.boxes_3d is None for record in records):
        return None
    moved, lost = [], 0
    for record in records:
        nearest = _nearest_found(record, scoring)
        if nearest is None:
            continue
        before, after = nearest
        if after is None:
            lost += 1
        else:
            moved.append(float(np.hypot(*(after - before)[[0, 2]])))
    return Displacement(
        mean_m=_finite_mean(moved),
        most_m=max(moved, default=None),
        frames=len(moved),
        lost=lost,
    )


def _nearest_found(
    record: FrameRecord, scoring: Scoring
) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Where the nearest object was said to be before and (None: lost) under attack."""
    nearest = None
    for rule in scoring.rules["headline"]:
        how = (rule, scoring.difficulties[-1], scoring.score_threshold)
        clean, attacked = (
            match_frame(record.truth, found, *how)
            for found in (record.clean, record.attacked)
        )
        for n in np.flatnonzero(clean.truth == "found"):
            depth_m = record.truth.location_m[n, 2]
            if depth_m > 0 and (nearest is None or depth_m < nearest[0]):
                after = None
                if attacked.truth[n] == "found":
                    after = record.attacked.location_m[attacked.taken_by[n]]
                before = record.clean.location_m[clean.taken_by[n]]
                nearest = (depth_m, before, after)
    return None if nearest is None else nearest[1:]


def _finite(value: float) -> Figure:
    return value if math.isfinite(value) else None


def _finite_mean(values: Sequence[float]) -> Figure:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else None
