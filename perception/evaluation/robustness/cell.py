"""One target x one perturbation: what every frame was like before and after.

A perturbation's random draws are seeded by the frame's number in the data set, so a
frame fares the same whatever the batch size, and a run that was killed and resumed ends
as one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor
from tqdm import tqdm

from perception.attacks.base import Perturbation, Perturbed, detection_loss
from perception.attacks.batch import AttackBatch
from perception.attacks.target import (
    DoesNotApplyError,
    Target,
    frozen,
    predict_leaving_out,
)
from perception.attacks.victim import Victim
from perception.core.locks import sole_user
from perception.core.parts import LeaveOut
from perception.core.provenance import Environment
from perception.core.shards import WHOLE, Shard
from perception.core.structures import DataError
from perception.evaluation.robustness.attack_file import Named
from perception.evaluation.robustness.records import (
    FrameRecord,
    Measured,
    largest_changes,
)
from perception.evaluation.robustness.spec import Running
from perception.evaluation.robustness.store import FrameStore
from perception.evaluation.robustness.subject import Subject


class NotApplicableError(DataError):
    """The target lacks what the perturbation asks of it; the message says what."""


Saver = Callable[[Perturbation, AttackBatch, Perturbed], None]


def fill(
    store: FrameStore,
    subject: Subject,
    named: Named,
    running: Running,
    *,
    save: Saver | None = None,
    progress: bool = True,
    shard: Shard = WHOLE,
    turn: int = 0,
) -> Measured:
    """Perturb those of a subject's frames that a store lacks; returns all, in order.

    Args:
        store: Where each batch's records go as soon as it is done.
        subject: Which detector, on which frames.
        named: What to do to them.
        running: Frames at a time, and processes that read them.
        save: Called with each perturbed batch before it is recorded.
        progress: Show a bar with the time left (on a terminal).
        shard: Only this share of the batches.
        turn: See :meth:`Shard.frames`.

    Raises:
        DataError: If the target cannot be perturbed so, a frame has no labels, or
            the remaining frames do not belong to those in the store.
    """
    perturbation = named.perturbation
    # Shards write files of their own, and who may be one is settled elsewhere.
    alone = sole_user(store.folder, perturbation.name)
    with alone if store.writer == WHOLE else nullcontext():
        done = store.frame_ids()
        names = subject.frame_ids
        count, missing = shard.missing(names, running.batch_size, done, turn=turn)
        pending = [subject.indices[number] for number in missing]
        if pending:
            store.begin(Environment.here(subject.target.device))
        with tqdm(
            desc=perturbation.name,
            total=count,
            initial=count - len(pending),
            unit="frame",
            disable=None if progress else True,
        ) as bar:
            for batch in subject.batches(running, pending):
                records = run_batch(subject.target, perturbation, batch, save=save)
                store.append([one for one in records if one.frame_id not in done])
                bar.update(len(batch))
    return store.measured(
        subject.frame_ids,
        name=perturbation.name,
        attacked_sensors=perturbation.touched,
        description=named.description,
    )


def run_batch(
    target: Target,
    perturbation: Perturbation,
    batch: AttackBatch,
    *,
    save: Saver | None = None,
) -> list[FrameRecord]:
    """Perturb a target's N frames; what they were like before and after.

    Args:
        target: Any; what it lacks is None in the records.
        perturbation: What to do. What it needs of the target, that must have.
        batch: Clean frames. Their samples have ``frame_id``, the labels ``objects``,
            and whatever the target needs.
        save: Called with the perturbed batch.

    Raises:
        NotApplicableError: If the target lacks what the perturbation needs.
        DataError: If the perturbation is impossible.
    """
    begin = time.perf_counter()
    try:
        result = perturbation(target, batch)
    except DoesNotApplyError as error:
        raise NotApplicableError(str(error)) from error
    except ValueError as error:
        raise DataError(str(error)) from error
    seconds = (time.perf_counter() - begin) / len(batch)
    if save is not None:
        save(perturbation, batch, result)
    count, touched = len(batch), perturbation.touched
    loss_clean = _numbers(_clean_loss(target, batch, touched), count)
    loss_attacked = _numbers(result.detection_loss, count)
    value = _numbers(result.value, count)
    change = largest_changes(batch.inputs, result.inputs, batch.sensors, touched)
    clean = target.predict(batch.inputs, batch.samples)
    attacked = target.predict(result.inputs, batch.samples)
    told = None
    if len(touched) == 1:
        leave_out = LeaveOut(touched[0])
        told = predict_leaving_out(target, result.inputs, batch.samples, leave_out)
    return [
        FrameRecord(
            frame_id=sample.frame_id,
            index=batch.ids[n],
            truth=sample.objects,
            clean=clean[n].detections,
            attacked=attacked[n].detections,
            gate_clean=clean[n].gate,
            gate_attacked=attacked[n].gate,
            loss_clean=loss_clean[n],
            loss_attacked=loss_attacked[n],
            value=value[n],
            change=change[n],
            seconds=seconds,
            oracle=None if told is None else told[n].detections,
            alarm_clean=clean[n].alarm,
            alarm_attacked=attacked[n].alarm,
        )
        for n, sample in enumerate(batch.samples)
    ]


def _clean_loss(
    target: Target, batch: AttackBatch, touched: tuple[str, ...]
) -> Tensor | None:
    """(N,) detection loss on the clean inputs; None for targets without losses."""
    with frozen(target), torch.no_grad():
        victim = Victim(target, batch, touched)
        return detection_loss(victim, {name: batch.inputs[name] for name in touched})


def _numbers(values: Tensor | None, count: int) -> list[float | None]:
    return [None] * count if values is None else values.tolist()
