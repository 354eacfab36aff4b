"""The certificate of a detector, frame by frame, and what it comes to.

Shape letters: N frames, G objects of a frame, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor
from tqdm import tqdm
from typing_extensions import TypedDict

from perception.attacks.batch import AttackBatch
from perception.core.gate_state import attributed, false_alarm_warning
from perception.core.provenance import Environment
from perception.core.ranks import Ranks
from perception.core.schema import checked
from perception.core.shards import shares
from perception.evaluation.certificate.attackers import Attacked, Attackers
from perception.evaluation.certificate.bounds import frame_bounds
from perception.evaluation.certificate.ghosts import ghost_bound, highest_ghost
from perception.evaluation.certificate.hiding import certified_scores
from perception.evaluation.robustness.spec import CertifyRun, Running
from perception.evaluation.robustness.store import LineStore, take_folder
from perception.evaluation.robustness.subject import Subject
from perception.models.late_fusion import LateFusionDetector
from perception.models.modes import in_eval_mode
from perception.models.output import DetectorOutput

_TOLERANCE = 1e-4  # of a score: the bounds and the detector round differently
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True)
class Certificate:
    """What holds in one frame, whatever is done to one sensor.

    Attributes:
        scores: (G,) up to which score each object stays detected; 0: not at all.
        ghost: The score that no ghost exceeds.
    """

    scores: Tensor
    ghost: float


@torch.no_grad()
def certificates(
    detector: Any,
    batch: AttackBatch,
    *,
    overlaps: Mapping[str, float],
    least: float = 0.3,
) -> dict[str, list[Certificate]]:
    """What nothing that is done to one sensor can change.

    Args:
        detector: A ``MultiModalDetector`` with an aggregator and a head that
            predicts distances from points to sides (FCOS).
        batch: N clean frames with ground truth.
        overlaps: For each class the overlap that a detection must exceed.
        least: Detections of lower scores do not count.

    Returns:
        For each sensor those of the N frames.

    Raises:
        ValueError: If the detector is not of this kind, or its ``box_margin`` is
            above 1: then a larger limit may leave a box smaller, and the bounds of
            ``Aggregator.bounds`` do not hold.
    """
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
    with in_eval_mode(detector):
        pyramids = detector.extract_feat(batch.inputs)
        output = detector.fuse(pyramids, samples=batch.samples)
        limits = {name: output.bounds(name) for name in detector.sensors}
    needed = _needed(detector, overlaps)
    found: dict[str, list[Certificate]] = {}
    for name, (low, high) in limits.items():
        for n, sample in enumerate(batch.samples):
            bounds = frame_bounds(head, low, high, n, sample.img_shape[:2])
            truth, config = sample.gt_instances, head.test_cfg
            asked = (bounds, truth.bboxes, truth.labels, needed, config)
            scores = certified_scores(*asked, least)
            one = Certificate(scores, ghost_bound(*asked))
            found.setdefault(name, []).append(one)
    return found


def _needed(detector: Any, overlaps: Mapping[str, float]) -> Tensor:
    """(K,) the overlap that each class's detections must exceed."""
    names = detector.dataset_meta["classes"]
    device = next(detector.parameters()).device
    return torch.tensor([overlaps[name] for name in names], device=device)


class CertifiedSensor(TypedDict):
    """What holds of one frame against one sensor, and what attacks on it did.

    ``scores`` and ``ghost`` as of :class:`Certificate`; ``survived``: whether each
    object was found under every attack on it alone (empty without an attack);
    ``made_up``: the highest score of a ghost under attack; ``violations``: certified
    objects that were hidden, or ghosts above the bound.
    """

    scores: list[float]
    ghost: float
    survived: list[bool]
    made_up: float
    violations: int


class CertifiedFrame(TypedDict):
    """What is known of one frame.

    Of the clean frame: objects there are and found, the highest score of a ``ghost``,
    and whom a gate accuses.
    """

    frame_id: str
    objects: int
    found: int
    ghost: float
    accused: str | None
    sensors: dict[str, CertifiedSensor]


def certify(
    subject: Subject, running: Running, *, attackers: Attackers
) -> dict[str, Any]:
    """What no attack on one sensor can hide or make up.

    Args:
        subject: A detector with an aggregator and labelled frames; its scoring says
            which overlap and score a detection must exceed.
        running: Frames at a time, and processes that read them.
        attackers: Try to hide every object by itself, and to make one up, through every
            sensor; certified objects that were lost and ghosts above their bound are
            counted: there must be none.

    Returns:
        See :func:`in_all`.

    Raises:
        DataError: If a frame has no labels.
        ValueError: See :func:`certificates`; or if a class has no overlap.
    """
    batches = certified_frames(subject, running, attackers)
    frames = [frame for batch in batches for frame in batch]
    return in_all(frames, subject, attackers)


def certify_recorded(
    run: CertifyRun, subject: Subject, folder: Path
) -> dict[str, Any] | None:
    """As :func:`certify`, with a record of every frame in a folder, or of a shard's.

    Returns:
        The figures; None of a shard, whose records others join, and on all ranks but
        torchrun's first.

    Raises:
        DataError: If the folder holds records of other settings.
    """
    running, scoring = run.running, subject.scoring
    attackers = Attackers(run.check_steps, run.check_share)
    settings = subject.settings | {
        "check_steps": run.check_steps,
        "check_share": run.check_share,
        "score_threshold": scoring.score_threshold,
        "overlaps": dict(scoring.overlaps),
    }
    with Ranks() as ranks:
        mine = running.shard or ranks.shard
        store = LineStore(folder, settings, resume=True, writer=mine)
        for other in running.merge or ():
            take_folder([store], folder, Path(other))
        for share in shares(folder, running.shard) if running.shard else [mine]:
            done, names = store.frame_ids(), subject.frame_ids
            _, missing = share.missing(names, running.batch_size, done)
            if missing:
                store.begin(Environment.here(running.device))
            numbers = [subject.indices[number] for number in missing]
            part = replace(subject, indices=numbers)
            for batch in certified_frames(part, running, attackers):
                store.append_lines(x for x in batch if x["frame_id"] not in done)
        ranks.wait()
        if running.shard is not None or ranks.shard.index > 0:
            return None
    whole = LineStore(folder, settings, resume=True)
    whole.unite(subject.frame_ids)
    frames = list(whole.lines(_certified_frame))
    return in_all(frames, subject, attackers)


def _certified_frame(line: Any) -> CertifiedFrame:
    frame: CertifiedFrame = checked(
        CertifiedFrame, line, line.get("frame_id"), what="record of a certified frame"
    )
    return frame


def certified_frames(
    subject: Subject, running: Running, attackers: Attackers
) -> Iterator[list[CertifiedFrame]]:
    """The frames of each batch; see :func:`certify`."""
    target, overlaps = subject.target, subject.scoring.overlaps
    detector, threshold = subject.detector, subject.scoring.score_threshold
    if missing := [name for name in target.classes if name not in overlaps]:
        raise ValueError(f"no overlap for {', '.join(missing)}: nothing scores them")
    names = list(target.sensors)
    needed = _needed(detector, overlaps)
    per_frame = 1 + (len(names) if attackers.steps else 0)
    with tqdm(
        total=per_frame * len(subject.indices), desc="certify", smoothing=0
    ) as bar:
        for batch in subject.batches(running):
            held = certificates(detector, batch, overlaps=overlaps, least=threshold)
            output = _output(detector, batch.inputs, batch.samples)
            clean = _seen(detector, batch, output, needed, threshold)
            frames = [
                CertifiedFrame(
                    frame_id=sample.frame_id,
                    objects=len(mask),
                    found=int(mask.sum()),
                    ghost=ghost,
                    accused=None,
                    sensors={
                        name: _untried(held[name][n], attackers) for name in names
                    },
                )
                for n, (sample, (mask, ghost)) in enumerate(
                    zip(batch.samples, clean, strict=True)
                )
            ]
            bar.update(len(batch))
            if detector.has_gate:
                output.write_gate(batch.samples)
                for frame, sample in zip(frames, batch.samples, strict=True):
                    frame["accused"] = attributed(sample.gate.tolist(), names)
            for tried in attackers.on(target, batch):
                output = _output(detector, tried.inputs, tried.batch.samples)
                seen = _seen(detector, tried.batch, output, needed, threshold)
                _note(frames[tried.frame]["sensors"][tried.sensor], tried, seen)
                bar.update(not tried.alone)
            for frame in frames:
                for sensor in frame["sensors"].values():
                    sensor["violations"] = _violations(sensor, threshold)
            yield frames


def _untried(one: Certificate, attackers: Attackers) -> CertifiedSensor:
    scores = one.scores.tolist()
    survived = [True] * len(scores) if attackers.steps else []
    return CertifiedSensor(
        scores=scores, ghost=one.ghost, survived=survived, made_up=0.0, violations=0
    )


def _note(
    sensor: CertifiedSensor, tried: Attacked, seen: Sequence[tuple[Tensor, float]]
) -> None:
    """What an attack hid or made up."""
    masks = torch.cat([mask for mask, _ in seen]).tolist()
    both = zip(sensor["survived"], masks, strict=True)
    sensor["survived"] = [before and now for before, now in both]
    if not tried.alone:  # a copy's other objects are no ghosts
        sensor["made_up"] = max(sensor["made_up"], seen[0][1])


def _violations(sensor: CertifiedSensor, threshold: float) -> int:
    both = zip(sensor["scores"], sensor["survived"], strict=False)  # none if not tried
    hidden = sum(score > threshold and not survived for score, survived in both)
    return hidden + (sensor["made_up"] > sensor["ghost"] + _TOLERANCE)


def in_all(
    frames: Sequence[CertifiedFrame], subject: Subject, attackers: Attackers
) -> dict[str, Any]:
    """The figures of all frames together.

    Returns:
        ``objects``, ``found`` and ``ghost_free`` frames (on clean inputs) and for each
        sensor ``certified`` objects, ``ghost_free`` frames, in which nothing can be
        made up, both above ``threshold`` and, as ``at``, above others as well;
        ``survived`` objects, which no attack on them alone hid, frames ``not_fooled``,
        in which none made up anything above ``threshold``, and ``violations`` (None if
        not attacked).
    """
    if subject.detector.has_gate and (
        warning := false_alarm_warning(Counter(frame["accused"] for frame in frames))
    ):
        tqdm.write(warning)
    threshold = subject.scoring.score_threshold
    sensors: dict[str, dict[str, Any]] = {}
    for name in subject.target.sensors:
        own = [frame["sensors"][name] for frame in frames]
        tried: dict[str, int | None] = dict.fromkeys(
            ("survived", "not_fooled", "violations")
        )
        if attackers.steps:
            tried = {
                "survived": sum(sum(one["survived"]) for one in own),
                "not_fooled": sum(one["made_up"] <= threshold for one in own),
                "violations": sum(one["violations"] for one in own),
            }
        others = [t for t in THRESHOLDS if t > threshold]
        at = {f"{t:g}": _above(own, t) for t in others}
        sensors[name] = _above(own, threshold) | tried | {"at": at}
    return {
        "objects": sum(frame["objects"] for frame in frames),
        "found": sum(frame["found"] for frame in frames),
        "ghost_free": sum(frame["ghost"] <= threshold for frame in frames),
        "threshold": threshold,
        "check_steps": attackers.steps,
        "check_share": attackers.share,
        "sensors": sensors,
    }


def _above(frames: Sequence[CertifiedSensor], threshold: float) -> dict[str, int]:
    """Certified objects, and frames in which nothing can be made up."""
    return {
        "certified": sum(s > threshold for one in frames for s in one["scores"]),
        "ghost_free": sum(one["ghost"] <= threshold for one in frames),
    }


@torch.no_grad()
def _output(
    detector: Any, inputs: Mapping[str, Tensor], samples: Sequence[Any]
) -> DetectorOutput:
    pyramids = detector.extract_feat(inputs)
    output: DetectorOutput = detector.fuse(pyramids, samples=samples)
    return output


@torch.no_grad()
def _seen(
    detector: Any,
    batch: AttackBatch,
    output: DetectorOutput,
    needed: Tensor,
    threshold: float,
) -> list[tuple[Tensor, float]]:
    """For each frame which objects (G,) are detected, and the highest ghost's score."""
    frames = detector.bbox_head.predict_by_feat(
        *output.outputs,
        batch_img_metas=[s.metainfo for s in batch.samples],
        rescale=False,
    )
    found = []
    for sample, frame in zip(batch.samples, frames, strict=True):
        truth = sample.gt_instances
        ghost = highest_ghost(frame, truth.bboxes, truth.labels, needed)
        kept = frame[frame.scores > threshold]
        overlap = bbox_overlaps(truth.bboxes, kept.bboxes)
        enough = overlap > needed[truth.labels][:, None]
        same = truth.labels[:, None] == kept.labels[None]
        found.append(((enough & same).any(dim=1).cpu(), ghost))
    return found
