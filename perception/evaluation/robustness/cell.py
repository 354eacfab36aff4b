"""Run an attack over a data set: detections, gate and loss before and after.

An attack's random draws are seeded by the frame's number in the data set, so a frame
fares the same whatever the batch size, and a run that was killed and resumed ends as
one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmdet.structures import DetDataSample
from tqdm import tqdm

from perception.attacks.base import Attack, Perturbation, Perturbed
from perception.attacks.batch import AttackBatch
from perception.attacks.goals import Goal
from perception.attacks.target import frozen, predict_leaving_out
from perception.attacks.victim import Victim
from perception.core.parts import LeaveOut
from perception.core.provenance import made_on
from perception.core.structures import DataError, Prediction
from perception.datasets.frame_dataset import FrameDataset
from perception.datasets.loading import build_loader, numbered_batches
from perception.evaluation.robustness.attack_report import AttackReport, Scoring, plain
from perception.evaluation.robustness.records import (
    FrameRecord,
    largest_changes,
)
from perception.evaluation.robustness.store import FrameStore
from perception.targets import DetectorTarget

Saver = Callable[[Perturbation, AttackBatch, Perturbed], None]


def evaluate_attack(
    detector: Any,
    dataset: FrameDataset,
    attack: Perturbation,
    indices: Sequence[int] | None = None,
    *,
    scoring: Scoring | None = None,
    store: FrameStore | None = None,
    save: Saver | None = None,
    description: Mapping[str, Any] | None = None,
    batch_size: int = 8,
    workers: int = 0,
    progress: bool = True,
) -> AttackReport:
    """Attack some or all frames and judge what the detector makes of them.

    Args:
        detector: A ``MultiModalDetector``.
        dataset: Frames with labels, not augmented.
        attack: What to do to them.
        indices: Numbers of the frames; None takes all.
        scoring: How to judge; by default at an overlap of 0.5 of every class.
        store: Where to keep each batch's records, and to find those already there.
        save: Called with each attacked batch before it is recorded.
        description: What the report says of the attack; None describes it.
        batch_size: Frames attacked at a time.
        workers: Processes that read data.
        progress: Show a bar with the time left (on a terminal).

    Raises:
        DataError: If the detector cannot be attacked so, a frame has no labels, or
            frames that remain to be attacked do not belong to those in the store.
    """
    indices = range(len(dataset)) if indices is None else indices
    if not len(indices):
        raise DataError("no frames to attack")
    check_attack(attack, detector)
    frame_ids = frame_ids_of(dataset)
    records = {} if store is None else store.read()
    pending = [index for index in indices if frame_ids[index] not in records]
    now = made_on(next(detector.parameters()).device)
    if store is not None and pending:
        store.begin(now)
    loader = build_loader(dataset, pending, batch_size=batch_size, workers=workers)
    with tqdm(
        desc=attack.name,
        total=len(indices),
        initial=len(indices) - len(pending),
        unit="frame",
        disable=None if progress else True,
    ) as bar:
        for ids, data in numbered_batches(loader, pending):
            fresh = attack_batch(detector, attack, data, ids, save)
            if store is not None:
                store.append(fresh)
            records |= {record.frame_id: record for record in fresh}
            bar.update(len(fresh))
    classes = detector.dataset_meta["classes"]
    return AttackReport(
        name=attack.name,
        touched=tuple(attack.touched),
        sensors=tuple(detector.branches),
        attack=description or describe_attack(attack),
        records=[records[frame_ids[index]] for index in indices],
        scoring=scoring or Scoring(dict.fromkeys(classes, 0.5)),
        made_on=[now] if store is None else store.made_on(),
    )


def attack_batch(
    detector: Any,
    attack: Perturbation,
    data: Any,
    ids: Sequence[int],
    save: Saver | None = None,
) -> list[FrameRecord]:
    """Attack one batch of a data loader and record each frame.

    Args:
        detector: A ``MultiModalDetector``.
        attack: What to do.
        data: What the loader yielded.
        ids: Numbers of the N frames in the data set.
        save: Called with the attacked batch.

    Raises:
        DataError: If a frame has no labels or the attack is impossible.
    """
    target = DetectorTarget(detector)
    batch = target.batch(data, ids)
    require_labels(batch)
    begin = time.perf_counter()
    try:
        result = attack(target, batch)
    except ValueError as error:
        raise DataError(str(error)) from error
    assert result.detection_loss is not None and result.value is not None
    seconds = (time.perf_counter() - begin) / len(batch)
    if save is not None:
        save(attack, batch, result)
    damage_clean = clean_damage(target, batch, attack).tolist()
    changes = largest_changes(
        batch.inputs, result.inputs, batch.sensors, attack.touched
    )
    clean = target.predict(batch.inputs, batch.samples)
    attacked = target.predict(result.inputs, batch.samples)
    oracle = _predict_told(target, result.inputs, batch.samples, attack)
    return [
        FrameRecord(
            frame_id=sample.frame_id,
            index=ids[n],
            truth=sample.objects,
            clean=clean[n].detections,
            attacked=attacked[n].detections,
            gate_clean=clean[n].gate,
            gate_attacked=attacked[n].gate,
            damage_clean=damage_clean[n],
            damage_attacked=float(result.detection_loss[n]),
            value=float(result.value[n]),
            change=changes[n],
            seconds=seconds,
            oracle=None if oracle is None else oracle[n].detections,
            doubt_clean=clean[n].alarm,
            doubt_attacked=attacked[n].alarm,
        )
        for n, sample in enumerate(batch.samples)
    ]


def frame_ids_of(dataset: FrameDataset) -> list[str]:
    """Names of all frames, without reading them."""
    frames: Any = dataset.frames
    return list(frames.frame_ids)[: len(dataset)]


def require_labels(batch: AttackBatch) -> None:
    """Raise DataError unless every frame has ground truth."""
    for sample in batch.samples:
        if "gt_instances" not in sample:
            raise DataError(
                f"frame {sample.frame_id}: no labels; attacks need the ground truth"
            )


def clean_damage(
    target: DetectorTarget, batch: AttackBatch, attack: Perturbation
) -> torch.Tensor:
    """(N,) detection loss on the clean inputs."""
    touched = attack.touched
    with frozen(target), torch.no_grad():
        victim = Victim(target, batch, touched)
        return victim.objective({name: batch.inputs[name] for name in touched}, Goal())


def check_attack(attack: Perturbation, detector: Any) -> None:
    """Raise DataError if the threat model does not fit the detector."""
    try:
        attack.check(detector.sensors)
    except ValueError as error:
        raise DataError(str(error)) from error


def describe_attack(
    attack: Perturbation, config: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The attack, its parameters and its threat model in full, as plain values.

    Args:
        attack: The attack.
        config: What it was built from. Without it, parameters that the attack does
            not keep as plain values (a patch's texture, another attack) are left out.
    """
    if not isinstance(attack, Attack):
        return plain({"type": type(attack).__name__, "threat": attack})
    given = {
        name: value
        for name, value in (config or {}).items()
        if name not in ("type", "threat")
    }
    parameters = {
        name: value
        for name, value in vars(attack).items()
        if name not in ("threat", "goal")
        and isinstance(value, bool | int | float | str | tuple | dict | None)
    }
    name = type(attack).__name__
    return plain({"type": name, **given, **parameters, "threat": attack.threat})


def _predict_told(
    target: DetectorTarget,
    inputs: Any,
    samples: Sequence[DetDataSample],
    attack: Perturbation,
) -> list[Prediction] | None:
    """The same, the fusion being told which sensor lies; None where it cannot be."""
    if len(attack.touched) != 1:
        return None
    return predict_leaving_out(target, inputs, samples, LeaveOut(attack.touched[0]))
