"""How well a monitor finds sensors that fail in time, on recordings of drives.

The monitor hears the gate, and who shows an old reading (``RepeatDetector``). In every
drive of the recording each sensor fails in each way from the middle on, while
the same frames as they are tell how often the monitor alarms without a failure. The
features of a reading are computed once, however often a sensor shows it again.

Shape letters: N frames, S sensors.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from tqdm import tqdm

from perception.attacks.target import HasFeatures
from perception.core.files import write_bytes, write_json
from perception.core.structures import DataError
from perception.corruptions.in_time import DELAYS, DRIFT, TimeFailure
from perception.datasets.loading import build_loader, numbered_batches
from perception.datasets.timeline import drives_of
from perception.evaluation.robustness.subject import Subject
from perception.models.consensus.monitor import SensorMonitor, SensorState
from perception.models.consensus.repeats import RepeatDetector, digest
from perception.targets.batches import frame_batch

FORMAT, FORMAT_VERSION = "perception failures in time", 1
SOON = 5  # frames within which an alarm is of use
SHORTEST = 8  # frames of a drive that can be judged
Gate = tuple[float, ...]


@dataclass(frozen=True)
class InTime:
    """How well one failure of one sensor is found.

    Attributes:
        sensor: The sensor that fails.
        kind: How.
        severity: How much, 1 to 5.
        drives: In how many drives.
        frames: In how many frames, all drives together.
        auroc: Of the monitor's score, between these frames failed and as they are.
        found: Drives in which an alarm came that named this sensor.
        soon: Drives in which it came within ``SOON`` frames.
        delay: Median number of frames until it came, 0 for the first failed frame;
            None if it never did.
        named: Share of the alarms during the failure that named this sensor; None
            without any.
    """

    sensor: str
    kind: str
    severity: int
    drives: int
    frames: int
    auroc: float
    found: int
    soon: int
    delay: float | None
    named: float | None


@dataclass(frozen=True)
class Clean:
    """What the monitor says of the drives as they are.

    Attributes:
        drives: How many.
        frames: How many, all drives together.
        hours: How long they are.
        alarm_share: Frames with an alarm.
        alarms: Alarms, each counted when it begins, by the sensor that it names.
    """

    drives: int
    frames: int
    hours: float
    alarm_share: float
    alarms: Mapping[str, int]


@dataclass(frozen=True)
class InTimeReport:
    """All failures in time of one recording.

    Attributes:
        monitor: What judged them.
        clean: The recording as it is.
        failures: Each sensor, kind and severity.
    """

    monitor: SensorMonitor
    clean: Clean
    failures: tuple[InTime, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "monitor": self.monitor.to_json(),
            "clean": asdict(self.clean),
            "failures": [asdict(one) for one in self.failures],
        }


class GateBook:
    """What the gate says of a recording's frames when one sensor shows another reading.

    Args:
        subject: The detector, one with features and a gate, and its frames.
        numbers: The frames that are asked about.
        batch_size: Frames at a time.
    """

    def __init__(
        self, subject: Subject, numbers: Sequence[int], batch_size: int
    ) -> None:
        self._target: Any = subject.target
        if not isinstance(subject.target, HasFeatures):
            raise DataError("failures in time need a detector of this project")
        self._subject, self._batch_size = subject, batch_size
        self.sensors = list(subject.target.sensors)
        self._features: dict[tuple[str, int], tuple[Tensor, ...]] = {}
        self._gates: dict[tuple[str, int, int], Gate] = {}
        self._samples: dict[int, Any] = {}
        self._digests: dict[tuple[str, int], bytes] = {}
        self._numbers = list(numbers)

    @torch.no_grad()
    def read(
        self, drifts: Sequence[tuple[TimeFailure, Sequence[int]]]
    ) -> dict[tuple[str, int], Gate]:
        """Compute every reading's features; gates of drifts are found on the way.

        Args:
            drifts: Failures that change the readings themselves, and their frames.

        Returns:
            For each drift's name and frame the gate.
        """
        drifted: dict[tuple[str, int], Gate] = {}
        loader = build_loader(
            self._subject.dataset, self._numbers, batch_size=self._batch_size
        )
        with tqdm(total=len(self._numbers), unit="frame", disable=None) as bar:
            for ids, data in numbered_batches(loader, self._numbers):
                batch = frame_batch(
                    self._target.preprocessor, data, ids, labelled=False
                )
                of = {s: self._target.encode(s, batch.inputs[s]) for s in self.sensors}
                for place, number in enumerate(ids):
                    self._samples[number] = batch.samples[place]
                    for name, levels in of.items():
                        mine = tuple(x[place : place + 1].cpu() for x in levels)
                        self._features[name, number] = mine
                        reading = batch.inputs[name][place]
                        self._digests[name, number] = digest(reading)
                for failure, frames in drifts:
                    here = [p for p, number in enumerate(ids) if number in frames]
                    if not here:
                        continue
                    part = batch.select(here)
                    turned = failure.corrupted(self._target.sensors, part)
                    inputs = turned[failure.sensor]
                    features = {n: tuple(x[here] for x in of[n]) for n in of}
                    features[failure.sensor] = self._target.encode(
                        failure.sensor, inputs
                    )
                    gates = self._ask(features, part.samples)
                    for place, gate in zip(here, gates, strict=True):
                        drifted[failure.name, ids[place]] = gate
                bar.update(len(ids))
        return drifted

    @torch.no_grad()
    def gates(self, sensor: str, shown: Sequence[tuple[int, int]]) -> list[Gate]:
        """The gates of frames in which a sensor shows that of another one.

        Args:
            sensor: Which.
            shown: (number of the frame, number of the one whose reading is shown).
        """
        keys = [(sensor if n != m else "", n, m) for n, m in shown]
        new = [key for key in dict.fromkeys(keys) if key not in self._gates]
        for first in range(0, len(new), self._batch_size):
            part = new[first : first + self._batch_size]
            features = {
                name: tuple(
                    torch.cat(levels).to(self._target.device)
                    for levels in zip(
                        *(
                            self._features[name, m if name == failed else n]
                            for failed, n, m in part
                        ),
                        strict=True,
                    )
                )
                for name in self.sensors
            }
            samples = [self._samples[n] for _, n, _ in part]
            found = self._ask(features, samples)
            self._gates |= dict(zip(part, found, strict=True))
        return [self._gates[key] for key in keys]

    def stale(
        self, sensor: str, shown: Sequence[tuple[int, int | None]]
    ) -> list[tuple[str, ...]]:
        """Which sensors show old readings in a drive's frames, as of :meth:`gates`.

        Args:
            sensor: Which fails.
            shown: As of :meth:`gates`, all frames of the drive; None: a reading that is
                nobody's.
        """
        readings = []
        for n, m in shown:
            own = {name: self._digests[name, n] for name in self.sensors}
            if m is None:
                del own[sensor]
            elif sensor:
                own[sensor] = self._digests[sensor, m]
            readings.append(own)
        return RepeatDetector().follow(readings)

    def _ask(self, features: Mapping[str, Any], samples: Sequence[Any]) -> list[Gate]:
        logits = self._target.respond(features, samples).gate_logits
        gates = logits.softmax(dim=1)
        if gates.ndim == 4:
            gates = gates.mean(dim=(2, 3))
        return [tuple(gate) for gate in gates.tolist()]


def failures_in_time(
    subject: Subject, monitor: SensorMonitor, *, batch_size: int = 8
) -> InTimeReport:
    """Judge a monitor by every failure in time of every sensor.

    Raises:
        DataError: If the frames make no drive of at least ``SHORTEST`` frames.
    """
    chosen = set(subject.indices)
    drives = [
        [number for number in drive if number in chosen]
        for drive in drives_of(subject.dataset.frames)
    ]
    drives = [drive for drive in drives if len(drive) >= SHORTEST]
    if not drives:
        raise DataError(
            f"failures in time need drives of at least {SHORTEST} frames that follow "
            "each other (timeline.csv): see create_data.py bag and sequences"
        )
    numbers = [number for drive in drives for number in drive]
    book = GateBook(subject, numbers, batch_size)
    halves = {drive[0]: drive[len(drive) // 2 :] for drive in drives}
    failures = list(_every_failure(book.sensors, subject.dataset))
    drifted = book.read(
        [
            (replace(one, name=_drift_name(one, half), begin=half[0]), half)
            for one in failures
            if one.kind == DRIFT
            for half in halves.values()
        ]
    )
    clean = [book.gates("", [(n, n) for n in drive]) for drive in drives]
    known = [book.stale("", [(n, n) for n in drive]) for drive in drives]
    states = [
        monitor.follow(np.array(gates), stale)
        for gates, stale in zip(clean, known, strict=True)
    ]
    clean_report = _clean(subject, drives, states)
    found = []
    for failure in tqdm(failures, "failures", disable=None):
        runs = []
        for drive, gates, before in zip(drives, clean, states, strict=True):
            failing = halves[drive[0]]
            begin = len(drive) - len(failing)
            seen: list[tuple[int, int | None]] = [(n, n) for n in drive[:begin]]
            one = replace(failure, begin=failing[0])
            if failure.kind == DRIFT:
                name = _drift_name(failure, failing)
                failed = [drifted[name, number] for number in failing]
                seen += [(number, None) for number in failing]
            else:
                shown = [(number, one.shown(number)) for number in failing]
                failed = book.gates(failure.sensor, shown)
                seen += shown
            stale = book.stale(failure.sensor, seen)
            after = monitor.follow(np.array([*gates[:begin], *failed]), stale)
            runs.append((before[begin:], after[begin:]))
        found.append(_judged(failure, runs))
    return InTimeReport(monitor, clean_report, tuple(found))


def _drift_name(failure: TimeFailure, failing: Sequence[int]) -> str:
    return f"{failure.name}@{failing[0]}"


def _every_failure(sensors: Sequence[str], dataset: Any) -> Iterator[TimeFailure]:
    for sensor in sensors:
        for kind in (*DELAYS, DRIFT):
            for severity in (1, 2, 3, 4, 5):
                yield TimeFailure(
                    name=f"{sensor}_{kind}_{severity}",
                    sensor=sensor,
                    kind=kind,
                    severity=severity,
                    replay=dataset,
                )


def _judged(
    failure: TimeFailure,
    runs: Sequence[tuple[Sequence[SensorState], Sequence[SensorState]]],
) -> InTime:
    """One failure's figures from the states without it and with it, drive by drive."""
    scores = [[state.score for run in runs for state in run[k]] for k in (0, 1)]
    labels = [0] * len(scores[0]) + [1] * len(scores[1])
    alarms = [state.alarm for _, after in runs for state in after if state.alarm]
    first = [
        next((n for n, s in enumerate(after) if s.alarm == failure.sensor), None)
        for _, after in runs
    ]
    came = [n for n in first if n is not None]
    return InTime(
        sensor=failure.sensor,
        kind=failure.kind,
        severity=failure.severity,
        drives=len(runs),
        frames=len(scores[1]),
        auroc=float(roc_auc_score(labels, [*scores[0], *scores[1]])),
        found=len(came),
        soon=sum(n < SOON for n in came),
        delay=float(np.median(came)) if came else None,
        named=alarms.count(failure.sensor) / len(alarms) if alarms else None,
    )


def _clean(
    subject: Subject,
    drives: Sequence[Sequence[int]],
    states: Sequence[Sequence[SensorState]],
) -> Clean:
    frames: Any = subject.dataset.frames
    gaps = [frames.previous(n) for drive in drives for n in drive[1:]]
    seconds = sum(gap.seconds for gap in gaps if gap is not None)
    begun = [
        alarm
        for of_drive in states
        for alarm, _ in groupby(state.alarm for state in of_drive)
        if alarm is not None
    ]
    every = [state for of_drive in states for state in of_drive]
    sensors = states[0][0].trust
    return Clean(
        drives=len(drives),
        frames=len(every),
        hours=seconds / 3600,
        alarm_share=float(np.mean([state.alarm is not None for state in every])),
        alarms={name: begun.count(name) for name in sensors},
    )


def write_report(
    json_path: str | os.PathLike,
    table_path: str | os.PathLike,
    report: InTimeReport,
    more: Mapping[str, Any],
) -> None:
    """Write it as JSON, with ``more`` about the run, and as a table in Markdown."""
    write_json(json_path, {**report.to_json(), **more})
    write_bytes(table_path, in_markdown(report).encode())


def in_markdown(report: InTimeReport) -> str:
    """A table of all failures, and what the monitor says without any."""
    clean, monitor = report.clean, report.monitor
    per_hour = {n: f"{k / clean.hours:.0f}" for n, k in clean.alarms.items()}
    lines = [
        f"{clean.frames} frames of {clean.drives} drives, {clean.hours * 3600:.0f} s. "
        f"Threshold for {monitor.false_alarm_rate:.2%} of clean frames (calibrated on "
        f"{monitor.frames}, smoothing {monitor.smoothing:g}): an alarm in "
        f"{clean.alarm_share:.1%} of these without a failure; alarms begun per hour: "
        + ", ".join(f"{name} {count}" for name, count in per_hour.items())
        + ".",
        "",
        f"| sensor | failure | severity | AUROC | found | within {SOON} frames "
        "| delay, frames | names it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in report.failures:
        delay = "-" if one.delay is None else f"{one.delay:g}"
        named = "-" if one.named is None else f"{one.named:.0%}"
        lines.append(
            f"| {one.sensor} | {one.kind} | {one.severity} | {one.auroc:.3f} | "
            f"{one.found} / {one.drives} | {one.soon} / {one.drives} | {delay} | "
            f"{named} |"
        )
    return "\n".join(lines) + "\n"
