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

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor
from tqdm import tqdm

from perception.attacks import PGD
from perception.attacks.batch import AttackBatch
from perception.core.gate_state import attributed, false_alarm_warning
from perception.evaluation.audit.subject import range_threats
from perception.evaluation.robustness.spec import Running
from perception.evaluation.robustness.subject import Subject
from perception.models.heads.outputs import HeadOutputs
from perception.models.modes import in_eval_mode
from perception.models.output import DetectorOutput


@dataclass(frozen=True)
class Bounds:
    """What may become of one frame's locations, whatever one sensor says.

    Attributes:
        scores_low: (L, K) smallest score, class times centre-ness.
        scores_high: (L, K) largest score.
        classes_low: (L, K) smallest class score, which has to pass a threshold first.
        classes_high: (L, K) largest class score.
        inner: (L, 4) box inside every possible one, in pixels of the input.
        outer: (L, 4) box around every possible one.
        level: (L,) pyramid level of each location.
    """

    scores_low: Tensor
    scores_high: Tensor
    classes_low: Tensor
    classes_high: Tensor
    inner: Tensor
    outer: Tensor
    level: Tensor


@torch.no_grad()
def certified_objects(
    detector: Any,
    batch: AttackBatch,
    *,
    overlaps: Mapping[str, float],
    threshold: float = 0.3,
) -> dict[str, list[Tensor]]:
    """Which objects stay detected, whatever is done to one sensor.

    Args:
        detector: A ``MultiModalDetector`` with an aggregator and a head that
            predicts distances from points to sides (FCOS).
        batch: N clean frames with ground truth.
        overlaps: For each class the overlap that a detection must reach.
        threshold: The score that it must exceed.

    Returns:
        For each sensor, N masks (G,): true where no input of that sensor at all can
        keep the object from being detected.

    Raises:
        ValueError: If the detector is not of this kind, or its ``box_margin`` is
            above 1: then a larger limit may leave a box smaller, and the bounds of
            ``Aggregator.bounds`` do not hold.
    """
    aggregator, head = detector.aggregator, detector.bbox_head
    coder = type(head.bbox_coder).__name__
    if aggregator is None or coder != "DistancePointBBoxCoder":
        raise ValueError(
            "certificates are for an aggregator with a head of distances (FCOS), got "
            f"{type(aggregator).__name__} and {type(head).__name__}"
        )
    if aggregator.margins.boxes > 1:
        raise ValueError(
            "certificates need a box_margin of at most 1, got "
            f"{aggregator.margins.boxes}"
        )
    with in_eval_mode(detector):
        pyramids = detector.extract_feat(batch.inputs)
        output = detector.fuse(pyramids, samples=batch.samples)
        limits = {name: output.bounds(name) for name in detector.sensors}
    classes = list(detector.dataset_meta["classes"])
    needed = torch.tensor([overlaps[name] for name in classes])
    return {
        name: [
            _vouched(
                frame_bounds(head, low, high, n, sample.img_shape[:2]),
                sample.gt_instances.bboxes,
                sample.gt_instances.labels,
                needed.to(low[0][0])[sample.gt_instances.labels],
                head.test_cfg,
                threshold,
            )
            for n, sample in enumerate(batch.samples)
        ]
        for name, (low, high) in limits.items()
    }


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
    detector, threshold = subject.detector, subject.scoring.score_threshold
    if missing := [name for name in target.classes if name not in overlaps]:
        raise ValueError(f"no overlap for {', '.join(missing)}: nothing scores them")
    objects = found = 0
    accused: Counter[str | None] = Counter()
    names = list(target.sensors)
    counts: dict[str, dict[str, Any]] = {
        name: dict(certified=0, found_attacked=0, violations=0) for name in names
    }
    threats = range_threats(target.sensors, share=1.0, steps=max(check_steps, 1))
    attacks = {one.sensor: PGD(one) for one in threats}
    per_frame = 1 + check_steps * len(attacks)
    with tqdm(
        total=per_frame * len(subject.indices), desc="certify", unit="step", smoothing=0
    ) as bar:
        for batch in subject.batches(running):
            sure = certified_objects(
                detector, batch, overlaps=overlaps, threshold=threshold
            )
            output = _output(detector, batch.inputs)
            clean = _detected(detector, batch, output, overlaps, threshold)
            objects += sum(len(mask) for mask in clean)
            found += sum(int(mask.sum()) for mask in clean)
            bar.update(len(batch))
            if detector.has_gate:
                output.write_gate(batch.samples)
                gates = [sample.gate.tolist() for sample in batch.samples]
                accused.update(attributed(gate, names) for gate in gates)
            for name, attack in attacks.items():
                count = counts[name]
                count["certified"] += sum(int(mask.sum()) for mask in sure[name])
                if not check_steps:
                    continue
                attacked = _output(detector, attack(target, batch).inputs)
                still = _detected(detector, batch, attacked, overlaps, threshold)
                count["found_attacked"] += sum(int(mask.sum()) for mask in still)
                count["violations"] += sum(
                    int((a & ~b).sum()) for a, b in zip(sure[name], still, strict=True)
                )
                bar.update(len(batch) * check_steps)
    if warning := false_alarm_warning(accused):
        tqdm.write(warning)
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


@torch.no_grad()
def _output(detector: Any, inputs: Mapping[str, Tensor]) -> DetectorOutput:
    output: DetectorOutput = detector.fuse(detector.extract_feat(inputs))
    return output


@torch.no_grad()
def _detected(
    detector: Any,
    batch: AttackBatch,
    output: DetectorOutput,
    overlaps: Mapping[str, float],
    threshold: float,
) -> list[Tensor]:
    """For each frame a mask (G,): objects that some detection overlaps enough."""
    frames = detector.bbox_head.predict_by_feat(
        *output.outputs,
        batch_img_metas=[s.metainfo for s in batch.samples],
        rescale=False,
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


def frame_bounds(
    head: Any, low: HeadOutputs, high: HeadOutputs, n: int, size: tuple[int, int]
) -> Bounds:
    """The bounds of frame n from those of the head's outputs (eval mode)."""
    sizes = [level.shape[-2:] for level in low[0]]
    points = torch.cat(
        head.prior_generator.grid_priors(sizes, low[0][0].dtype, low[0][0].device)
    )

    def flat(kind: list[Tensor]) -> Tensor:
        return torch.cat([level[n].flatten(1).T for level in kind])

    def scores(outputs: HeadOutputs) -> tuple[Tensor, Tensor]:
        by_class = flat(outputs[0]).sigmoid()
        return by_class, by_class * flat(outputs[2]).sigmoid()

    (classes_low, scores_low), (classes_high, scores_high) = scores(low), scores(high)
    inner, outer = (
        head.bbox_coder.decode(points, flat(outputs[1]).clamp(min=0), max_shape=size)
        for outputs in (low, high)
    )
    numbers = [torch.full((h * w,), i) for i, (h, w) in enumerate(sizes)]
    return Bounds(
        scores_low,
        scores_high,
        classes_low,
        classes_high,
        inner,
        outer,
        torch.cat(numbers).to(inner.device),
    )


def lowest_overlap(inner: Tensor, outer: Tensor, fixed: Tensor) -> Tensor:
    """(L, G) at most the overlap of any box between inner and outer with ``fixed``."""
    shared = _intersection(inner, fixed)
    return shared / (_area(outer)[:, None] + _area(fixed)[None] - shared).clamp(1e-6)


def highest_overlap(a: Bounds, i: Tensor, j: Tensor) -> Tensor:
    """(I, J) at least the overlap of any two boxes of locations i (I,) and j (J,)."""
    shared = _intersection(a.outer[i], a.outer[j])
    larger = torch.maximum(_area(a.inner[i])[:, None], _area(a.inner[j])[None])
    return shared / torch.maximum(larger, shared).clamp(1e-6)


def _vouched(
    bounds: Bounds,
    boxes: Tensor,
    labels: Tensor,
    needed: Tensor,
    test_cfg: Any,
    threshold: float,
) -> Tensor:
    """(G,) whether any location vouches for each object."""
    result = torch.zeros(len(boxes), dtype=torch.bool)
    if not len(boxes):
        return result
    overlap = lowest_overlap(bounds.inner, bounds.outer, boxes) > needed
    first = test_cfg["score_thr"]
    possible = (bounds.classes_high > first) & (bounds.scores_high > 0)
    for g, k in enumerate(labels.tolist()):
        sure = bounds.scores_low[:, k] > threshold
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
        result[g] = bool(
            (~spoiled & _within_counts(bounds, candidates, k, test_cfg)).any()
        )
    return result


def _within_counts(bounds: Bounds, candidates: Tensor, k: int, test_cfg: Any) -> Tensor:
    """(C,) whether no limit on the number of detections can cut a candidate off."""
    scores = bounds.scores_low[candidates, k]
    classes = bounds.classes_low[candidates, k]
    before = (bounds.scores_high[None] >= scores[:, None, None]).flatten(1).sum(dim=1)
    same_level = bounds.level[None] == bounds.level[candidates][:, None]
    ahead = bounds.classes_high[None] >= classes[:, None, None]
    ahead = (ahead & same_level[..., None]).flatten(1).sum(dim=1)
    return (before <= test_cfg["max_per_img"]) & (ahead <= test_cfg["nms_pre"])


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    """(A, B) areas shared by boxes (A, 4) and (B, 4)."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    return (high - low).clamp(min=0).prod(dim=2)
