"""AP where every output takes its worst end of what one sensor can make of it.

The bounds of an aggregator hold for every number by itself. No input need reach all
ends at once, and the worst ends are chosen by the slope of the detection loss, not of
AP, so that this is an estimate and no certificate: of what is left by an attacker who
has no budget to keep to. Where attacks within a budget leave hardly more, the bounds
and not the search is what limits them.

Shape letter: N frames.
"""

from __future__ import annotations

from typing import Any

import torch

from perception.attacks.batch import AttackBatch
from perception.core.structures import Objects
from perception.evaluation.certificate.frames import require_bounds
from perception.evaluation.detection.bootstrap import mean_ap_interval
from perception.evaluation.detection.kitti_ap import evaluate, mean_ap
from perception.evaluation.robustness.spec import Running
from perception.evaluation.robustness.subject import Subject
from perception.models.heads.detections import as_objects
from perception.models.heads.losses import worst_within
from perception.models.modes import in_eval_mode


def worst_case_ap(subject: Subject, running: Running) -> dict[str, dict[str, Any]]:
    """For each sensor ``mean_ap`` in percent, and its 95 % ``interval`` over frames.

    Raises:
        ValueError: See :func:`require_bounds`.
    """
    detector, scoring = subject.detector, subject.scoring
    require_bounds(detector)
    truth: list[Objects] = []
    found: dict[str, list[Objects]] = {name: [] for name in detector.sensors}
    for batch in subject.batches(running):
        truth.extend(sample.objects for sample in batch.samples)
        for name, frames in worst_detections(subject.target, batch).items():
            found[name].extend(frames)
    rules = scoring.rules["headline"]
    level = next(d for d in scoring.difficulties if d.name == scoring.headline)
    result = {}
    for name, own in found.items():
        cells = evaluate(
            truth, own, classes=rules, metrics=("2d",), difficulties=(level,)
        )
        interval = mean_ap_interval(truth, own, classes=rules, difficulty=level)
        mean = mean_ap(cells, "2d", level.name)
        result[name] = {"mean_ap": mean, "interval": interval}
    return result


def worst_detections(target: Any, batch: AttackBatch) -> dict[str, list[Objects]]:
    """For each sensor the detections in N frames when all outputs are at their worst.

    Args:
        target: A ``DetectorTarget`` with an aggregator.
        batch: N clean frames with ground truth.
    """
    detector = target.detector
    head, samples = detector.bbox_head, batch.samples
    with in_eval_mode(detector), torch.no_grad(), detector.for_losses():
        output = detector.fuse(detector.extract_feat(batch.inputs), samples=samples)
        bounds = [output.bounds(name) for name in detector.sensors]
        frames = list(range(len(samples)))
        worst = worst_within(head, output.outputs, bounds, samples, frames)
    found = {}
    for name, (scores, sides, *others) in zip(detector.sensors, worst, strict=True):
        if head.norm_on_bbox:  # in strides, as losses take them
            pairs = zip(sides, head.strides, strict=True)
            sides = [side.clamp(min=0) * stride for side, stride in pairs]
        frames_found = head.predict_by_feat(
            scores,
            sides,
            *others,
            batch_img_metas=[sample.metainfo for sample in samples],
            rescale=True,
        )
        found[name] = [as_objects(one, target.classes) for one in frames_found]
    return found
