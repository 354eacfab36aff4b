"""The certificate of a detector, frame by frame, and what contradicts it.

Shape letters: N frames, G objects of a frame, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.evaluation.certificate.bounds import frame_bounds
from perception.evaluation.certificate.displacing import (
    Region,
    centre_trapezoids,
    certified_regions,
    off_metres,
    true_centres,
)
from perception.evaluation.certificate.ghosts import ghost_bound, highest_ghost
from perception.evaluation.certificate.hiding import (
    certified_scores,
    vouching_locations,
)
from perception.models.heads.fcos_3d import FCOS3DHead
from perception.models.late_fusion import LateFusionDetector
from perception.models.modes import in_eval_mode
from perception.models.output import DetectorOutput

# Of a score, and of metres: the bounds and the detector round differently.
_TOLERANCE, _TOLERANCE_M = 1e-4, 1e-2


@dataclass(frozen=True)
class Certificate:
    """What holds in one frame, whatever is done to one sensor.

    Attributes:
        scores: (G,) up to which score each object stays detected; 0: not at all.
        ghost: The score that no ghost exceeds.
        regions: Of a detector with boxes in metres where each object's centre stays.
    """

    scores: Tensor
    ghost: float
    regions: tuple[Region, ...] = ()


def require_bounds(detector: Any) -> None:
    """Raise ValueError unless the bounds of ``Aggregator.bounds`` are of its answer."""
    aggregator, head = detector.aggregator, detector.bbox_head
    coder = type(head.bbox_coder).__name__
    votes = isinstance(detector, LateFusionDetector)
    if aggregator is None or coder != "DistancePointBBoxCoder" or votes:
        raise ValueError(
            "certificates are for an aggregator with a head of distances (FCOS), got "
            f"{type(aggregator).__name__} and {type(head).__name__} in a "
            f"{type(detector).__name__}"
        )
    if aggregator.margins.boxes > 1:
        raise ValueError(
            "certificates need a box_margin of at most 1, got "
            f"{aggregator.margins.boxes}"
        )


@torch.no_grad()
def certificates(
    detector: Any,
    batch: AttackBatch,
    *,
    overlaps: Mapping[str, float],
    least: float = 0.3,
    output: DetectorOutput | None = None,
) -> dict[str, list[Certificate]]:
    """What nothing that is done to one sensor can change.

    Args:
        detector: A ``MultiModalDetector`` with an aggregator and a head that
            predicts distances from points to sides (FCOS).
        batch: N clean frames with ground truth.
        overlaps: For each class the overlap that a detection must exceed.
        least: Detections of lower scores do not count.
        output: What the detector says of these frames, if that is known.

    Returns:
        For each sensor those of the N frames.

    Raises:
        ValueError: If the detector is not of this kind, or its ``box_margin`` is
            above 1: then a larger limit may leave a box smaller, and the bounds of
            ``Aggregator.bounds`` do not hold.
    """
    require_bounds(detector)
    head = detector.bbox_head
    with in_eval_mode(detector):
        if output is None:
            output = output_of(detector, batch.inputs, batch.samples)
        limits = {name: output.bounds(name) for name in detector.sensors}
    needed = needed_overlaps(detector, overlaps)
    found: dict[str, list[Certificate]] = {}
    for name, (low, high) in limits.items():
        for n, sample in enumerate(batch.samples):
            bounds = frame_bounds(head, low, high, n, sample.img_shape[:2])
            truth, config = sample.gt_instances, head.test_cfg
            asked = (bounds, truth.bboxes, truth.labels, needed, config)
            vouching = vouching_locations(*asked, least)
            regions: list[Region] = []
            if isinstance(head, FCOS3DHead):
                camera = torch.as_tensor(sample.image_P_cam).to(truth.bboxes)
                regions = certified_regions(
                    bounds,
                    centre_trapezoids(head, low, high, n, camera),
                    vouching,
                    truth.bboxes,
                    truth.labels,
                    true_centres(sample),
                    needed,
                    config,
                )
            one = Certificate(
                certified_scores(vouching, truth.bboxes),
                ghost_bound(*asked),
                tuple(regions),
            )
            found.setdefault(name, []).append(one)
    return found


def needed_overlaps(detector: Any, overlaps: Mapping[str, float]) -> Tensor:
    """(K,) the overlap that each class's detections must exceed."""
    names = detector.dataset_meta["classes"]
    device = next(detector.parameters()).device
    return torch.tensor([overlaps[name] for name in names], device=device)


@torch.no_grad()
def output_of(
    detector: Any, inputs: Mapping[str, Tensor], samples: Sequence[Any]
) -> DetectorOutput:
    """What a detector says of inputs {sensor: (N, C, H, W)} of N frames."""
    pyramids = detector.extract_feat(inputs)
    output: DetectorOutput = detector.fuse(pyramids, samples=samples)
    return output


@dataclass(frozen=True)
class Seen:
    """What became of G objects: found or not, how far off, the highest ghost."""

    found: Tensor
    off_m: Tensor
    ghost: float


@torch.no_grad()
def seen_in(
    detector: Any,
    batch: AttackBatch,
    output: DetectorOutput,
    needed: Tensor,
    threshold: float,
) -> list[Seen]:
    """For each frame what became of its objects, of detections above a threshold."""
    frames = detector.bbox_head.predict_by_feat(
        *output.outputs,
        batch_img_metas=[s.metainfo for s in batch.samples],
        rescale=False,
    )
    told = []
    for sample, frame in zip(batch.samples, frames, strict=True):
        truth = sample.gt_instances
        ghost = highest_ghost(frame, truth.bboxes, truth.labels, needed)
        kept = frame[frame.scores > threshold]
        overlap = bbox_overlaps(truth.bboxes, kept.bboxes)
        enough = overlap > needed[truth.labels][:, None]
        same = truth.labels[:, None] == kept.labels[None]
        found = (enough & same).any(dim=1).cpu()
        off_m = torch.full((len(truth.bboxes),), torch.inf)
        if isinstance(detector.bbox_head, FCOS3DHead):
            where = true_centres(sample)
            off_m = off_metres(kept, truth.bboxes, truth.labels, where, needed).cpu()
        told.append(Seen(found, off_m, ghost))
    return told


def contradictions(one: Certificate, seen: Seen, threshold: float) -> int:
    """Certified objects hidden or moved too far, and a ghost above its bound."""
    hidden = (one.scores.cpu() > threshold) & ~seen.found
    count = int(hidden.sum()) + int(seen.ghost > one.ghost + _TOLERANCE)
    if one.regions:
        most = torch.tensor([region.metres for region in one.regions])
        moved = (seen.off_m > most * (1 + 1e-4) + _TOLERANCE_M) & ~hidden
        count += int(moved.sum())
    return count
