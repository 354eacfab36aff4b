"""AP by the distance of centres on the ground, and how far off true positives are.

After nuScenes' detection task (Caesar et al., CVPR 2020), with KITTI's protocol for all
else (who has to be found, 41 recalls), so that figures stand beside AP by overlap:
nuScenes' own leave out precision and recall below 0.1. Its own program scores data in
its layout.

Shape letters: as in ``matching``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perception.core.geometry import wrap_angle
from perception.core.structures import Objects
from perception.evaluation.detection import matching
from perception.evaluation.detection.kitti_ap import AveragePrecision, average_precision
from perception.evaluation.detection.rules import ClassRule, Difficulty

LIMITS_M = (0.5, 1.0, 2.0, 4.0)
ERRORS_AT_M = 2.0
_LEAST_RECALL = 0.1  # errors below it are those of few objects


@dataclass(frozen=True)
class CenterAP:
    """How well the objects of one class are located.

    Attributes:
        ap: {limit in metres: AP}.
        translation_m: Mean distance of true positives' centres on the ground; errors
            are means over the recalls from 0.1 on of those found up to there, for pairs
            up to 2 m apart. NaN if recall does not get that far.
        scale: 1 less the overlap of the sizes, as if centre and yaw were right.
        orientation_rad: Smallest angle between the yaws.
    """

    ap: Mapping[float, AveragePrecision]
    translation_m: float
    scale: float
    orientation_rad: float


def evaluate_centers(
    ground_truth: Sequence[Objects],
    detections: Sequence[Objects],
    *,
    classes: Sequence[ClassRule],
    difficulty: Difficulty,
    limits_m: Sequence[float] = LIMITS_M,
) -> dict[str, CenterAP]:
    """Score the detections of a data set; {class: figures}.

    Args:
        ground_truth: All labels of each frame.
        detections: The detections of the same frames, with scores.
        classes: The classes; their overlaps do not matter.
        difficulty: What has to be found.
        limits_m: How far apart the centres may be.
    """
    truth, found = matching.stack(ground_truth), matching.stack(detections)
    named = [name for rule in classes for name in (rule.name, *rule.neighbours)]
    of_interest = truth.is_any(*named)
    pairs = {
        limit: matching.near_pairs(truth, found, limit, of_interest)
        for limit in {*limits_m, ERRORS_AT_M}
    }
    return {
        rule.name: CenterAP(
            {
                limit: average_precision(truth, found, pairs[limit], rule, difficulty)
                for limit in limits_m
            },
            *_errors(truth, found, pairs[ERRORS_AT_M], rule, difficulty),
        )
        for rule in classes
    }


def mean_center_ap(result: Mapping[str, CenterAP], limit_m: float) -> float:
    """Mean AP (R40, percent) over the classes that have objects, NaN if none."""
    cells = [one.ap[limit_m] for one in result.values()]
    values = [cell.r40 for cell in cells if cell.objects]
    return float(np.mean(values)) if values else float("nan")


def center_table(result: Mapping[str, CenterAP]) -> str:
    """The result as text, a line per class."""
    width = max(len("AP in %"), *(len(name) for name in result)) + 2
    limits = next(iter(result.values())).ap
    head = f"{'AP in %':<{width}}" + "".join(f"{f'{x:g} m':>8}" for x in limits)
    lines = [head + "   off by: metres, size, radians"]
    for name, one in result.items():
        cells = (
            f"{a.r40:8.2f}" if a.objects else f"{'n/a':>8}" for a in one.ap.values()
        )
        errors = f"{one.translation_m:13.2f}{one.scale:8.2f}{one.orientation_rad:8.2f}"
        lines.append(f"{name:<{width}}" + "".join(cells) + errors)
    return "\n".join(lines)


def _errors(
    truth: matching.Stack,
    found: matching.Stack,
    close: matching.Pairs,
    rule: ClassRule,
    difficulty: Difficulty,
) -> tuple[float, float, float]:
    """See :class:`CenterAP`."""
    role = matching.roles(truth, found, rule, difficulty)
    ordered = matching.by_score(matching.admissible(close, role), found.scores)
    outcome = matching.assign(ordered, truth.frame, found.scores, np.array([-np.inf]))
    hit = matching.true_positives(outcome, role)[:, 0]
    taken = outcome.taken_by[hit, 0]
    order = np.argsort(-found.scores[taken], kind="stable")
    true = truth.objects.select(outcome.truth[hit][order])
    said = found.objects.select(taken[order])
    off_m = (true.location_m - said.location_m)[:, [0, 2]]
    shared = np.prod(np.minimum(true.dimensions_m, said.dimensions_m), axis=1)
    volumes = np.prod(true.dimensions_m, axis=1) + np.prod(said.dimensions_m, axis=1)
    errors = np.stack(
        [
            np.hypot(*off_m.T),
            1 - shared / (volumes - shared),
            np.abs(wrap_angle(true.rotation_y - said.rotation_y)),
        ]
    )
    count = np.arange(1, len(taken) + 1)
    wanted = count >= _LEAST_RECALL * max(int(role.wanted.sum()), 1)
    if not wanted.any():
        return (float("nan"),) * 3
    means = (np.cumsum(errors, axis=1) / count)[:, wanted].mean(axis=1)
    return tuple(means.tolist())
