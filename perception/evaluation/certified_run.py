"""Certified recall over a data set, checked by attacks without any budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor
from tqdm import tqdm

from perception.attacks import PGD, MapThreat
from perception.attacks.batch import AttackBatch
from perception.evaluation.certified import certified_objects
from perception.evaluation.robustness.spec import Running
from perception.evaluation.robustness.subject import Subject


def certify(
    subject: Subject, running: Running, *, check_steps: int = 0
) -> dict[str, Any]:
    """Which share of the objects no attack on one sensor can hide.

    Args:
        subject: A detector with an aggregator and labelled frames; its scoring says
            which overlap and score a detection must exceed.
        running: Frames at a time, and processes that read them.
        check_steps: Attack every sensor with so many steps of PGD over its whole
            physical range, and count certified objects that were lost: there must be
            none. 0 does not attack.

    Returns:
        ``objects``, ``found`` (on clean inputs) and for each sensor ``certified``,
        ``found_attacked`` and ``violations`` (None if not attacked).

    Raises:
        DataError: If a frame has no labels.
        ValueError: See :func:`certified_objects`; or if a class has no overlap.
    """
    target, overlaps = subject.target, subject.scoring.overlaps
    detector, threshold = target.detector, subject.scoring.score_threshold
    if missing := [name for name in target.classes if name not in overlaps]:
        raise ValueError(f"no overlap for {', '.join(missing)}: nothing scores them")
    objects = found = 0
    names = list(target.sensors)
    counts: dict[str, dict[str, Any]] = {
        name: dict(certified=0, found_attacked=0, violations=0) for name in names
    }
    attacks = {name: _unbounded(detector, name, check_steps) for name in names}
    per_frame = 1 + check_steps * len(attacks)
    with tqdm(
        total=per_frame * len(subject.indices), desc="certify", unit="step", smoothing=0
    ) as bar:
        for batch in subject.batches(running):
            sure = certified_objects(
                detector, batch, overlaps=overlaps, threshold=threshold
            )
            clean = _detected(detector, batch, batch.inputs, overlaps, threshold)
            objects += sum(len(mask) for mask in clean)
            found += sum(int(mask.sum()) for mask in clean)
            bar.update(len(batch))
            for name, attack in attacks.items():
                count = counts[name]
                count["certified"] += sum(int(mask.sum()) for mask in sure[name])
                if attack is None:
                    continue
                inputs = attack(target, batch).inputs
                still = _detected(detector, batch, inputs, overlaps, threshold)
                count["found_attacked"] += sum(int(mask.sum()) for mask in still)
                count["violations"] += sum(
                    int((a & ~b).sum()) for a, b in zip(sure[name], still, strict=True)
                )
                bar.update(len(batch) * check_steps)
    if not check_steps:
        for count in counts.values():
            count.update(found_attacked=None, violations=None)
    return {
        "objects": objects,
        "found": found,
        "threshold": threshold,
        "check_steps": check_steps,
        "sensors": counts,
    }


def _unbounded(detector: Any, sensor: str, steps: int) -> PGD | None:
    """PGD over the whole physical range of a sensor's input."""
    if not steps:
        return None
    channels = detector.sensors[sensor].channels
    eps = {channel.name: channel.high - channel.low for channel in channels}
    return PGD(MapThreat(name=f"{sensor}_any", sensor=sensor, eps=eps, steps=steps))


@torch.no_grad()
def _detected(
    detector: Any,
    batch: AttackBatch,
    inputs: Mapping[str, Tensor],
    overlaps: Mapping[str, float],
    threshold: float,
) -> list[Tensor]:
    """For each frame a mask (G,): objects that some detection overlaps enough."""
    outputs = detector.fuse(detector.extract_feat(inputs)).outputs
    frames = detector.bbox_head.predict_by_feat(
        *outputs, batch_img_metas=[s.metainfo for s in batch.samples], rescale=False
    )
    classes = list(detector.dataset_meta["classes"])
    needed = torch.tensor([overlaps[name] for name in classes])
    masks = []
    for sample, frame in zip(batch.samples, frames, strict=True):
        truth = sample.gt_instances
        kept = frame[frame.scores > threshold]
        overlap = bbox_overlaps(truth.bboxes, kept.bboxes)
        enough = overlap > needed.to(overlap)[truth.labels][:, None]
        same = truth.labels[:, None] == kept.labels[None]
        masks.append((enough & same).any(dim=1).cpu())
    return masks
