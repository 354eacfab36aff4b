"""Certificates of many frames: counted, recorded, checked with attacks.

Shape letter: G objects of a frame.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from typing_extensions import NotRequired, TypedDict

from perception.core.gate_state import attributed, false_alarm_warning
from perception.core.provenance import Environment
from perception.core.ranks import Ranks
from perception.core.schema import checked
from perception.core.shards import shares
from perception.evaluation.certificate.attackers import Attacked, Attackers
from perception.evaluation.certificate.displacing import LIMITS_M
from perception.evaluation.certificate.frames import (
    Certificate,
    Seen,
    certificates,
    contradictions,
    needed_overlaps,
    output_of,
    seen_in,
)
from perception.evaluation.detection.bootstrap import share_interval
from perception.evaluation.robustness.spec import CertifyRun, Running
from perception.evaluation.robustness.store import LineStore, take_folder
from perception.evaluation.robustness.subject import Subject
from perception.models.heads.fcos_3d import FCOS3DHead

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


class CertifiedSensor(TypedDict):
    """What holds of one frame against one sensor, and what attacks on it did.

    ``scores`` and ``ghost`` as of :class:`Certificate`; ``survived``: whether each
    object was found under every attack on it alone (empty without an attack);
    ``made_up``: the highest score of a ghost under attack; ``violations``: certified
    objects that were hidden or moved too far, or ghosts above the bound. Of boxes in
    metres how far each object's best detection may be from it at
    most (None: any distance), and how far the attacks moved it.
    """

    scores: list[float]
    ghost: float
    survived: list[bool]
    made_up: float
    violations: int
    metres: NotRequired[list[float | None]]
    metres_attacked: NotRequired[list[float | None]]


class CertifiedFrame(TypedDict):
    """What is known of one frame.

    Of the clean frame: objects there are and found, the highest score of a ``ghost``,
    and whom a gate accuses; how far off each object's best detection is in metres.
    """

    frame_id: str
    objects: int
    found: int
    ghost: float
    accused: str | None
    sensors: dict[str, CertifiedSensor]
    metres: NotRequired[list[float | None]]


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
    if _in_space(subject):
        settings["limits_m"] = list(LIMITS_M)
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
    needed, in_space = needed_overlaps(detector, overlaps), _in_space(subject)
    per_frame = 1 + (len(names) if attackers.steps else 0)
    with tqdm(
        total=per_frame * len(subject.indices), desc="certify", smoothing=0
    ) as bar:
        for batch in subject.batches(running):
            output = output_of(detector, batch.inputs, batch.samples)
            held = certificates(
                detector, batch, overlaps=overlaps, least=threshold, output=output
            )
            clean = seen_in(detector, batch, output, needed, threshold)
            frames = [
                CertifiedFrame(
                    frame_id=sample.frame_id,
                    objects=len(seen.found),
                    found=int(seen.found.sum()),
                    ghost=seen.ghost,
                    accused=None,
                    sensors={
                        name: _untried(held[name][n], attackers) for name in names
                    },
                )
                for n, (sample, seen) in enumerate(
                    zip(batch.samples, clean, strict=True)
                )
            ]
            bar.update(len(batch))
            if detector.has_gate:
                output.write_gate(batch.samples)
                for frame, sample in zip(frames, batch.samples, strict=True):
                    frame["accused"] = attributed(sample.gate.tolist(), names)
            if in_space:
                _write_metres(frames, clean, held, attacked=bool(attackers.steps))
            for tried in attackers.on(target, batch, in_space=in_space):
                output = output_of(detector, tried.inputs, tried.batch.samples)
                each = seen_in(detector, tried.batch, output, needed, threshold)
                seen = _of_all(tried, each)
                sensor = frames[tried.frame]["sensors"][tried.sensor]
                one = held[tried.sensor][tried.frame]
                sensor["violations"] += contradictions(one, seen, threshold)
                both = zip(sensor["survived"], seen.found.tolist(), strict=True)
                sensor["survived"] = [before and now for before, now in both]
                sensor["made_up"] = max(sensor["made_up"], seen.ghost)
                if in_space:
                    sensor["metres_attacked"] = _further(
                        sensor["metres_attacked"], seen.off_m.tolist()
                    )
                bar.update(not tried.alone)
            yield frames


def _untried(one: Certificate, attackers: Attackers) -> CertifiedSensor:
    scores = one.scores.tolist()
    survived = [True] * len(scores) if attackers.steps else []
    return CertifiedSensor(
        scores=scores, ghost=one.ghost, survived=survived, made_up=0.0, violations=0
    )


def _of_all(tried: Attacked, each: Sequence[Seen]) -> Seen:
    """What became of a frame's objects, from a copy of the frame for each of them."""
    if not tried.alone:
        return each[0]
    found = torch.cat([seen.found for seen in each])
    # The copy's other objects look like ghosts and are none.
    return Seen(found, torch.cat([seen.off_m for seen in each]), ghost=0.0)


def _in_space(subject: Subject) -> bool:
    return isinstance(subject.detector.bbox_head, FCOS3DHead)


def _write_metres(
    frames: Sequence[CertifiedFrame],
    clean: Sequence[Seen],
    held: Mapping[str, Sequence[Certificate]],
    *,
    attacked: bool,
) -> None:
    """How far off objects are on clean inputs, and can be."""
    for n, (frame, seen) in enumerate(zip(frames, clean, strict=True)):
        frame["metres"] = [_known(x) for x in seen.off_m.tolist()]
        for name, sensor in frame["sensors"].items():
            sensor["metres"] = [_known(one.metres) for one in held[name][n].regions]
            nearest = [0.0] * len(seen.off_m) if attacked else []
            sensor["metres_attacked"] = [*nearest]


def _known(metres: float) -> float | None:
    """JSON knows no infinity."""
    return metres if math.isfinite(metres) else None


def _further(
    before: Sequence[float | None], now: Sequence[float]
) -> list[float | None]:
    """The larger of two distances of each object; None is any."""
    return [
        None if a is None or not math.isfinite(b) else max(a, b)
        for a, b in zip(before, now, strict=True)
    ]


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
        not attacked). Of boxes in metres
        ``within`` 2 and 4 m the objects ``found`` on clean inputs, ``certified`` and
        ``attacked``, those left there by the attacks (None if not attacked), each with
        the 95 % interval of its share over frames.
    """
    if subject.detector.has_gate and (
        warning := false_alarm_warning(Counter(frame["accused"] for frame in frames))
    ):
        tqdm.write(warning)
    threshold, in_space = subject.scoring.score_threshold, _in_space(subject)
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
        if in_space:
            sensors[name]["within"] = {
                "certified": _within([one["metres"] for one in own]),
                "attacked": _within([one["metres_attacked"] for one in own])
                if attackers.steps
                else None,
            }
    found = {"within": _within([f["metres"] for f in frames])} if in_space else {}
    return found | {
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


def _within(frames: Sequence[Sequence[float | None]]) -> dict[str, dict[str, Any]]:
    """Objects within each limit, and the interval of their share over frames."""
    counts = [len(one) for one in frames]
    result = {}
    for limit in LIMITS_M:
        near = [sum(x is not None and x <= limit for x in one) for one in frames]
        interval = share_interval(near, counts)
        result[f"{limit:g}"] = {"objects": sum(near), "interval": interval}
    return result
