"""What no attack on one sensor can make up: false detections above some score.

A *ghost* is a detection that overlaps no object of its class enough. A location can
become one if, for something that the sensor might say, its class score passes the
head's threshold and its box overlaps every object of the class too little. The largest
score that any such location might reach bounds the scores of all ghosts: above it
nobody can make anything up. Suppression is left out, which could only remove some. A
second detection of an object is no ghost here, although the evaluation counts it as
false.

Shape letters: G objects, L locations of all levels, K classes, D detections.
"""

from __future__ import annotations

from typing import Any

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from perception.evaluation.certificate.bounds import Bounds, lowest_overlap


def ghost_bound(
    bounds: Bounds, boxes: Tensor, labels: Tensor, needed: Tensor, test_cfg: Any
) -> float:
    """The score that no ghost exceeds, whatever the sensor says; 0: there can be none.

    Args:
        bounds: What may become of the frame's L locations.
        boxes: (G, 4) objects in pixels of the input.
        labels: (G,) their classes.
        needed: (K,) overlap that a detection of each class must exceed.
        test_cfg: The head's thresholds.
    """
    possible = bounds.classes_high > test_cfg["score_thr"]
    overlap = lowest_overlap(bounds.inner, bounds.outer, boxes) > needed[labels]
    of_class = labels[:, None] == torch.arange(len(needed), device=labels.device)
    real = overlap.float() @ of_class.float() > 0  # (L, K)
    return float(torch.where(possible & ~real, bounds.scores_high, 0.0).amax())


def highest_ghost(
    detections: Any, boxes: Tensor, labels: Tensor, needed: Tensor
) -> float:
    """The highest score of D detections that are ghosts, 0 without any.

    Args:
        detections: With ``bboxes`` (D, 4), ``scores`` and ``labels`` (D,).
        boxes: (G, 4) objects, in the same pixels.
        labels: (G,) their classes.
        needed: (K,) overlap that a detection of each class must exceed.
    """
    overlap = bbox_overlaps(detections.bboxes, boxes)
    same = detections.labels[:, None] == labels[None]
    real = ((overlap > needed[labels]) & same).any(dim=1)
    scores = detections.scores[~real]
    return float(scores.max()) if len(scores) else 0.0
