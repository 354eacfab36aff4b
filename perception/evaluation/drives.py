"""Drives frame by frame: a perturbation that lasts, and what the past makes of it.

Single frames say nothing of a detector whose third witness is the past. Here all drives
go on side by side, one frame at a time; from one frame on each is perturbed, by an
attack in every frame or a failure that lasts. Of a detector with a history the attacker

* has the present frame alone: the past is that of the frames as they were, or
* is *patient*: what was said of attacked frames is the past of the next one.

A failure lasts, so it is always patient. Other detectors have no past to drag.

Shape letters: N drives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from perception.attacks import Perturbation
from perception.attacks.batch import AttackBatch
from perception.core.files import write_json
from perception.core.gate_state import gate_state
from perception.core.parts import LeaveOut
from perception.core.structures import DataError, Objects, Prediction
from perception.corruptions import Corruption
from perception.datasets.loading import build_loader
from perception.datasets.timeline import drives_of
from perception.evaluation.detection.bootstrap import mean_ap_interval
from perception.evaluation.detection.rules import Scoring
from perception.evaluation.detection.scoring import headline_of
from perception.evaluation.robustness.spec import DrivesRun
from perception.evaluation.robustness.subject import Subject, load_subject
from perception.models.history_detector import PAST
from perception.targets.batches import frame_batch
from perception.targets.history import HistoryTarget

FORMAT, FORMAT_VERSION = "perception drives", 1


@dataclass(frozen=True)
class DrivesResult:
    """What was found in the perturbed frames of all drives.

    Attributes:
        name: Of the perturbation; ``clean``.
        frames: How many count: those from ``begin`` on.
        mean_ap: In percent.
        interval: Of that, 95 % over frames like these; None where there is none.
        states: In how many of the frames the gate was in which state.
        by_step: Mean AP of those frames that are so far from ``begin``: 0, 1, 2 to 4, 5
            to 9, 10 on; where there are objects.
    """

    name: str
    frames: int
    mean_ap: float
    interval: tuple[float, float] | None
    states: Mapping[str, int]
    by_step: Mapping[str, float] = field(default_factory=dict)


def run_drives(run: DrivesRun) -> list[DrivesResult]:
    """Clean drives, then those with each attack; written to ``run.out``/drives.json.

    Raises:
        DataError: If the frames make no drives of ``run.length`` frames, or as
            :func:`load_subject`.
    """
    subject = load_subject(run, run.attacks)
    drives = _drives(subject, run)
    perturbations = [None, *(one.perturbation for one in subject.attacks)]
    results = []
    for perturbation in perturbations:
        walk = _Walk(subject, drives, perturbation, run)
        results.append(_judged(walk, subject.scoring, run.begin))
        made = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "command": run.running.command,
            **subject.settings,
            "begin": run.begin,
            "length": run.length,
            "patient": run.patient,
            "attacks": [one.description for one in subject.attacks],
            "results": [asdict(one) for one in results],
        }
        write_json(Path(run.out) / "drives.json", made)
    return results


def gate_numbers(run: DrivesRun) -> dict[str, list]:
    """Mean and deviation of the gate of a detector with a history, on clean drives.

    The past is what the sensors say together without it, which contradicts them most.
    """
    subject = load_subject(run)
    if not isinstance(subject.target, HistoryTarget):
        raise DataError(f"{run.detector.config}: no history, whose gate to calibrate")
    walk = _Walk(subject, _drives(subject, run), None, run, told=LeaveOut(PAST))
    said = torch.cat([x for step in walk for x in step.contradictions])
    if len(said) < 2:
        raise DataError(f"calibration needs two frames with a past, got {len(said)}")
    gate = subject.detector.aggregator.gate
    gate.calibrate(said)
    numbers = {"mean": gate.mean, "deviation": gate.deviation}
    return {
        name: [[round(x, 3) for x in row] for row in value.tolist()]
        for name, value in numbers.items()
    }


def _drives(subject: Subject, run: DrivesRun) -> list[list[int]]:
    frames = subject.dataset.frames
    found = [drive[: run.length] for drive in drives_of(frames)]
    drives = [drive for drive in found if len(drive) == run.length][: run.drives]
    if not drives or run.begin >= run.length:
        raise DataError(
            f"no drives of {run.length} frames that follow each other (timeline.csv), "
            f"of which those from number {run.begin} on count"
        )
    return drives


@dataclass(frozen=True)
class _Step:
    """One frame of every drive."""

    number: int
    batch: AttackBatch
    said: Sequence[Prediction]
    contradictions: Sequence[torch.Tensor] = ()


@dataclass(eq=False)
class _Walk:
    """All drives side by side, frame after frame."""

    subject: Subject
    drives: Sequence[Sequence[int]]
    perturbation: Perturbation | None
    run: DrivesRun
    told: LeaveOut | None = None

    @property
    def name(self) -> str:
        """Of what is done to them."""
        return "clean" if self.perturbation is None else self.perturbation.name

    def __iter__(self) -> Iterator[_Step]:
        target, pasts = self.subject.target, [None] * len(self.drives)
        for number in tqdm(range(self.run.length), self.name, disable=None):
            ids = [drive[number] for drive in self.drives]
            size = len(ids)
            (data,) = build_loader(self.subject.dataset, ids, batch_size=size)
            batch = frame_batch(target.preprocessor, data, ids)
            if isinstance(target, HistoryTarget):
                step, pasts = self._remembered(target, number, batch, pasts)
            else:
                inputs = self._perturbed(number, batch)
                said = target.predict(inputs, batch.samples)
                step = _Step(number, batch, said)
            yield step

    def _remembered(
        self, target: HistoryTarget, number: int, batch: AttackBatch, pasts: list
    ) -> tuple[_Step, list]:
        frames = list(zip(batch.ids, pasts, batch.samples, strict=True))
        carried = [target.carried(*frame) for frame in frames]
        batch = target.with_pasts(batch, carried)
        inputs = self._perturbed(number, batch)
        output = target.seen(inputs, batch.samples, self.told)
        said = target.written(output, batch.samples)
        lasting = self.run.patient or isinstance(self.perturbation, Corruption)
        if not lasting and inputs is not batch.inputs:
            output = target.seen(batch.inputs, batch.samples, self.told)
        after = [
            target.renewed(one, output, n, batch.ids[n])
            for n, one in enumerate(carried)
        ]
        known = output.verdict.contradictions
        assert known is not None
        seen = [known[n : n + 1] for n, one in enumerate(carried) if one is not None]
        return _Step(number, batch, said, seen), after

    def _perturbed(self, number: int, batch: AttackBatch) -> Mapping[str, Any]:
        if self.perturbation is None or number < self.run.begin:
            return batch.inputs
        return self.perturbation(self.subject.target, batch).inputs


def _judged(walk: _Walk, scoring: Scoring, begin: int) -> DrivesResult:
    truth: dict[int, list[Objects]] = {}
    found: dict[int, list[Objects]] = {}
    states: dict[str, int] = {}
    sensors = tuple(walk.subject.target.sensors)
    for step in walk:
        if step.number < begin:
            continue
        for sample, one in zip(step.batch.samples, step.said, strict=True):
            truth.setdefault(step.number - begin, []).append(sample.objects)
            found.setdefault(step.number - begin, []).append(one.detections)
            state = str(gate_state(one.gate, sensors, one.alarm))
            states[state] = states.get(state, 0) + 1
    every = [x for k in truth for x in truth[k]], [x for k in found for x in found[k]]
    level = next(d for d in scoring.difficulties if d.name == scoring.headline)
    rules = scoring.rules["headline"]
    by_step = {}
    for first, last in ((0, 0), (1, 1), (2, 4), (5, 9), (10, 10**6)):
        own = [k for k in truth if first <= k <= last]
        if own:
            some = (
                [x for k in own for x in truth[k]],
                [x for k in own for x in found[k]],
            )
            by_step[f"{first}+" if last > 99 else f"{first}-{last}"] = headline_of(
                *some, scoring
            )
    return DrivesResult(
        name=walk.name,
        frames=len(every[0]),
        mean_ap=headline_of(*every, scoring),
        interval=mean_ap_interval(*every, classes=rules, difficulty=level),
        states=states,
        by_step=by_step,
    )


def in_markdown(results: Sequence[DrivesResult]) -> str:
    """A table."""
    steps = list(results[0].by_step)
    lines = [
        "| inputs | frames | mean AP | 95 % | gate | "
        + " | ".join(f"frames {name}" for name in steps)
        + " |",
        "|---" * (5 + len(steps)) + "|",
    ]
    for one in results:
        low, high = one.interval or (float("nan"), float("nan"))
        gate = ", ".join(f"{name} {count}" for name, count in one.states.items())
        cells = [one.name, str(one.frames), f"{one.mean_ap:.1f}"]
        cells += [f"{low:.1f} … {high:.1f}", gate]
        cells += [f"{one.by_step[name]:.1f}" for name in steps]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
