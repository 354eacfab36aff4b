"""Regions that objects are certified to stay in, to be drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perception.attacks.batch import AttackBatch
from perception.evaluation.certificate.displacing import around
from perception.evaluation.certificate.frames import certificates
from perception.evaluation.detection.rules import Scoring
from perception.models import MultiModalDetector
from perception.models.heads.fcos_3d import FCOS3DHead


def outlines(
    detector: MultiModalDetector,
    batch: AttackBatch,
    scoring: Scoring,
    compromised: Sequence[str] = (),
) -> tuple[np.ndarray, ...]:
    """Polygons (K, 2) x, z in metres, of each certified object of one clean frame.

    None for detectors without a certificate in metres, and where sensors lie together,
    which nothing bounds.

    Args:
        detector: Any.
        batch: The frame, with its objects.
        scoring: Which overlap and score a detection must exceed.
        compromised: The sensor that may say anything; none: any one.
    """
    aggregator = detector.aggregator
    classes = (detector.dataset_meta or {}).get("classes", ())
    if (
        aggregator is None
        or aggregator.margins.boxes > 1
        or not isinstance(detector.bbox_head, FCOS3DHead)
        or len(compromised) > 1
        or not set(classes) <= set(scoring.overlaps)
    ):
        return ()
    held = certificates(
        detector, batch, overlaps=scoring.overlaps, least=scoring.score_threshold
    )
    names = compromised or tuple(held)
    by_object = zip(*(held[name][0].regions for name in names), strict=True)
    return tuple(
        around([region.outline for region in regions])
        for regions in by_object
        if all(len(region.outline) for region in regions)
    )
