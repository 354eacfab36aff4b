"""Figures of published corruption suites in the form in which they publish them.

MultiCorrupt's resistance ability, of a metric that is mean AP here and NDS there:
RA_c is the mean over severities of AP under corruption c over clean AP, mRA the mean
over corruptions (Beemelmanns et al., IV 2024).
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping

from perception.evaluation.robustness.results import DetectorResult

SUITES = {
    "multicorrupt": "MultiCorrupt",
    "kitti_c": "KITTI-C",
    "robobev": "RoboBEV",
    "nuscenes_r": "nuScenes-R",
}
Resistance = Mapping[str, Mapping[str, float]]
"""{suite: {corruption: RA}}, and of each suite ``mRA``."""


def resistance(detector: DetectorResult) -> Resistance:
    """Of every suite of which a detector was put through something.

    Empty without a clean AP above zero.
    """
    clean = detector.clean_mean
    if not clean:
        return {}
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in detector.attacks.values():
        if (what := one.corruption) is None or one.mean is None:
            continue
        for suite in SUITES:
            if what.kind.startswith(f"{suite}_"):
                kind = what.kind.removeprefix(f"{suite}_")
                found[suite][f"{kind} ({what.sensor})"].append(one.mean / clean)
    figures = {}
    for suite, kinds in found.items():
        means = {kind: statistics.fmean(ratios) for kind, ratios in kinds.items()}
        figures[suite] = {**means, "mRA": statistics.fmean(means.values())}
    return figures
