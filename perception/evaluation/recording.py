"""Follow a recording with a ``SensorMonitor``: which sensor to trust, frame by frame.

Nothing here needs labels, unless frames are attacked to try the monitor out.

Shape letters: N frames, S sensors.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from perception.attacks import Perturbation
from perception.core.files import replacing, write_json
from perception.core.gate_state import (
    ALARM,
    attributed,
    false_alarm_warning,
    gate_state,
)
from perception.core.structures import DataError, Prediction
from perception.corruptions import Corruption, TimeFailure
from perception.datasets.frame_dataset import FrameDataset
from perception.datasets.loading import (
    build_dataset,
    build_loader,
    numbered_batches,
)
from perception.evaluation.alarms import tell
from perception.evaluation.in_time import (
    InTimeReport,
    failures_in_time,
    write_report,
)
from perception.evaluation.robustness.attack_file import Named
from perception.evaluation.robustness.records import Gate
from perception.evaluation.robustness.spec import (
    CleanFrames,
    DetectorRun,
    FramesSpec,
    MonitorRun,
)
from perception.evaluation.robustness.subject import (
    Subject,
    config_of,
    load_subject,
)
from perception.models.consensus.monitor import SensorMonitor, SensorState
from perception.models.consensus.repeats import RepeatDetector, digest
from perception.models.loading import without_history
from perception.targets.batches import frame_batch
from perception.targets.loading import LoadedTarget

FORMAT = "perception monitored recording"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Moment:
    """One frame, as the gate and then the monitor see it.

    Attributes:
        frame_id: Name of the frame.
        gate: (S + 1,) the gate's probabilities; None if a sensor is missing.
        alarm: Above 0 if some sensor is compromised, known or not which; None for a
            fusion without such a state, or if a sensor is missing.
        missing: Sensors without data.
        attacked: Sensors that were attacked.
        state: What the monitor thinks after this frame.
        time_ns: When it was taken, None where that is unknown.
    """

    frame_id: str
    gate: Gate
    alarm: float | None
    missing: tuple[str, ...]
    attacked: tuple[str, ...]
    state: SensorState
    time_ns: int | None = None

    @property
    def has_alarm(self) -> bool:
        """Whether the gate raises an alarm that it attributes to no sensor."""
        return gate_state(self.gate, tuple(self.state.trust), self.alarm) == ALARM


@dataclass(frozen=True)
class Recording:
    """A recording that was followed.

    Attributes:
        monitor: What followed it.
        moments: Its frames in order.
        summary: The content of ``summary.json``.
    """

    monitor: SensorMonitor
    moments: list[Moment]
    summary: dict[str, Any]


def follow_recording(run: MonitorRun) -> Recording:
    """Write ``monitor.json``, ``trust.*`` and ``summary.json`` into ``run.out``.

    Raises:
        DataError: If the detector has no gate, the monitor is of other sensors, clean
            frames are too few for the rate or those to be judged, frames to be attacked
            have no labels, or anything cannot be read or written.
    """
    subject = _subject(run)
    named = _only_attack(run, subject)
    used = _monitor(run, subject)
    out = Path(run.out)
    followed = _moments(run, subject, used, named)
    moments = list(tell(followed, out / "trust.jsonl", run.diagnostics))
    write_csv(out / "trust.csv", used.sensors, moments)
    summary = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        **_settings(run, subject),
        "monitor": used.to_json(),
        "attack": named and named.description,
        **summarise(used.sensors, moments),
    }
    write_json(out / "summary.json", summary)
    return Recording(used, moments, summary)


def judge_in_time(run: MonitorRun) -> InTimeReport:
    """Write ``monitor.json``, ``in_time.json`` and ``in_time.md`` into ``run.out``.

    Raises:
        DataError: As :func:`follow_recording`, and if the frames are no drives.
    """
    subject = _subject(run)
    used = _monitor(run, subject)
    report = failures_in_time(subject, used, batch_size=run.running.batch_size)
    out = Path(run.out)
    paths = out / "in_time.json", out / "in_time.md"
    write_report(*paths, report, _settings(run, subject))
    return report


def _subject(run: MonitorRun) -> Subject:
    """The run's detector, one with a gate over three sensors, and its frames."""
    frames = FramesSpec(split=run.split)
    followed = DetectorRun(detector=run.detector, frames=frames, running=run.running)
    subject = load_subject(followed, run.attack)
    subject = replace(subject, indices=subject.indices[: run.num])
    without_history(subject.config)
    if not subject.detector.has_gate:
        raise DataError(
            f"{run.detector.config}: this detector has no gate that says whom to "
            "trust; use one that has, such as those with OddOneOutFusion or "
            "ConsensusAggregator"
        )
    _require_three(run, subject)
    return subject


def _monitor(run: MonitorRun, subject: Subject) -> SensorMonitor:
    """The run's monitor, loaded or calibrated, and saved."""
    if isinstance(run.monitor, str):
        used = _load(run.monitor, list(subject.target.sensors))
    else:
        used = _calibrate(run, subject, run.monitor)
    used.save(Path(run.out) / "monitor.json")
    return used


def _settings(run: MonitorRun, subject: Subject) -> dict[str, Any]:
    """What was run."""
    return {
        "command": run.running.command,
        "checkpoint": str(run.detector.checkpoint),
        "attacks_file": str(run.attack.attacks_file) if run.attack else "",
        **{k: v for k, v in subject.settings.items() if k != "frame_ids"},
    }


def _require_three(run: MonitorRun, subject: Subject) -> None:
    """Raise DataError unless some frame has three of the detector's sensors.

    Between two that contradict each other there is no majority: every figure about
    them would be made up.
    """
    ours = tuple(subject.target.sensors)
    there: tuple[str, ...] = ours[:2]
    for index in subject.indices if len(ours) > 2 else ():
        frame = subject.dataset.frames[index]
        there = tuple(name for name in ours if name in frame.sensors)
        if len(there) > 2:
            return
    missing = [name for name in ours if name not in there]
    lack = f"no frame has {', '.join(missing)}; " if missing else ""
    raise DataError(
        f"{run.detector.config}: {lack}of {' and '.join(there) or 'no sensor'} alone "
        "no gate can tell which one is compromised: that takes three sensors"
    )


def _only_attack(run: MonitorRun, subject: Subject) -> Named | None:
    """The run's attack, if it can be done."""
    if run.attack is None:
        return None
    if len(subject.attacks) != 1:
        raise DataError(
            f"--threat takes one attack, not {', '.join(run.attack.threats)}"
        )
    frame = subject.dataset.frames[subject.indices[-1]]
    labelled = frame.objects is not None
    if not labelled and not isinstance(subject.attacks[0].perturbation, Corruption):
        raise DataError(f"frame {frame.frame_id}: no labels, which --threat needs")
    return subject.attacks[0]


def _load(file: str, sensors: Sequence[str]) -> SensorMonitor:
    """A monitor of these sensors, calibrated before."""
    monitor = SensorMonitor.load(file)
    if monitor.sensors != tuple(sensors):
        raise DataError(
            f"{file}: a monitor of {', '.join(monitor.sensors)}, but the detector has "
            f"{', '.join(sensors)}"
        )
    return monitor


def _calibrate(run: MonitorRun, subject: Subject, clean: CleanFrames) -> SensorMonitor:
    """A monitor of the run's detector; frames of another folder or split are clean."""
    config = config_of(run.detector, clean.split)
    frames = config.test_dataloader.dataset.frames
    frames.root = clean.root
    if _place(frames) == _place(subject.config.test_dataloader.dataset.frames):
        raise DataError(f"{clean.root}: calibrate on other frames than those to judge")
    dataset = build_dataset(config, "test")
    indices = range(len(dataset))[: clean.num]
    sensors = list(subject.target.sensors)
    calibrate = partial(
        SensorMonitor.calibrate,
        sensors=sensors,
        false_alarm_rate=clean.false_alarm_rate,
        smoothing=clean.smoothing,
    )
    # What cannot work is refused before the detector has looked at all the frames.
    calibrate(np.full((len(indices), len(sensors) + 1), 1 / (len(sensors) + 1)))
    gates: list[Any] = []
    for frame_id, found, missing, _ in _look(run, subject, dataset, indices):
        if found is None:
            raise DataError(
                f"frame {frame_id}: no {missing[0]} data; calibrate on frames that "
                "have every sensor"
            )
        gates.append(found.gate)
    if warning := false_alarm_warning(Counter(attributed(g, sensors) for g in gates)):
        tqdm.write(warning)
    return calibrate(gates)


def _place(frames: Mapping[str, Any]) -> dict[str, Any]:
    """A reader's config, the same for all ways to write its folder."""
    return {**frames, "root": Path(frames.get("root", "")).resolve()}


def _moments(
    run: MonitorRun,
    subject: Subject,
    monitor: SensorMonitor,
    named: Named | None,
) -> Iterator[Moment]:
    """Every frame as gate and monitor see it; an attack begins in the middle."""
    attack = None if named is None else named.perturbation
    indices = subject.indices
    start = len(indices) // 2 if attack else len(indices)
    if isinstance(attack, TimeFailure):
        attack = replace(attack, begin=indices[start])
    frames: Any = subject.dataset.frames
    time_of = getattr(frames, "time_ns", lambda number: None)
    previous = getattr(frames, "previous", lambda number: None)
    repeats = RepeatDetector()
    for part, lie in ((indices[:start], None), (indices[start:], attack)):
        looks = _look(run, subject, subject.dataset, part, lie)
        for number, look in zip(part, looks, strict=True):
            frame_id, found, missing, readings = look
            now = time_of(number)
            if previous(number) is None:
                repeats.reset()
            stale = repeats.update(readings)
            if found is None:
                state = monitor.update(None, missing, stale)
                yield Moment(frame_id, None, None, missing, (), state, now)
            else:
                touched = tuple(lie.touched) if lie else ()
                state = monitor.update(found.gate, stale=stale)
                alarm, gate = found.alarm, found.gate
                yield Moment(frame_id, gate, alarm, (), touched, state, now)


def _look(
    run: MonitorRun,
    subject: Subject,
    dataset: FrameDataset,
    indices: Sequence[int],
    attack: Perturbation | None = None,
) -> Iterator[tuple[str, Prediction | None, tuple[str, ...], dict[str, bytes]]]:
    """For each frame its name, what the detector says of it, and the sensors it lacks.

    The detector says nothing of a frame that lacks one. Last, digests of what the
    sensors of the others showed.
    """
    size, workers = run.running.batch_size, run.running.workers
    loader = build_loader(dataset, indices, batch_size=size, workers=workers)
    name = attack.name if attack else "looking"
    with tqdm(desc=name, total=len(indices), unit="frame", disable=None) as bar:
        for ids, data in numbered_batches(loader, indices):
            inputs, samples = data["inputs"], data["data_samples"]
            lacks = [
                tuple(
                    s
                    for s in subject.target.sensors
                    if s not in inputs or inputs[s][n] is None
                )
                for n in range(len(samples))
            ]
            whole = [n for n, missing in enumerate(lacks) if not missing]
            kept = {s: [values[n] for n in whole] for s, values in inputs.items()}
            part = {"inputs": kept, "data_samples": [samples[n] for n in whole]}
            said = _detect(subject.target, part, [ids[n] for n in whole], attack)
            found = dict(zip(whole, said, strict=True))
            for n, sample in enumerate(samples):
                prediction, readings = found.get(n, (None, {}))
                yield sample.frame_id, prediction, lacks[n], readings
            bar.update(len(samples))


def _detect(
    target: LoadedTarget, data: Any, ids: Sequence[int], attack: Perturbation | None
) -> list[tuple[Prediction, dict[str, bytes]]]:
    """What a detector says of frames that have every sensor, attacked or not.

    And digests of the inputs of its sensors.
    """
    if not ids:
        return []
    try:
        if attack is None:
            packed = target.preprocessor(data, False)
            inputs: Any = packed["inputs"]
            samples = packed["data_samples"]
        elif isinstance(attack, Corruption):
            batch = frame_batch(target.preprocessor, data, ids, labelled=False)
            inputs, samples = attack.corrupted(target.sensors, batch), batch.samples
        else:
            batch = target.batch(data, ids)
            inputs, samples = attack(target, batch).inputs, batch.samples
    except ValueError as error:
        raise DataError(str(error)) from error
    shown = [
        {name: digest(inputs[name][n]) for name in target.sensors}
        for n in range(len(samples))
    ]
    return list(zip(target.predict(inputs, samples), shown, strict=True))


def summarise(sensors: Sequence[str], moments: Sequence[Moment]) -> dict[str, Any]:
    """Figures of N >= 1 frames in plain values, in all and for each sensor."""
    known = any(moment.alarm is not None for moment in moments)
    per_sensor = {}
    for name in sensors:
        trust = [moment.state.trust[name] for moment in moments]
        alarms = [m for m in moments if m.state.alarm == name]
        attacked = [m for m in moments if name in m.attacked]
        per_sensor[name] = {
            "mean_trust": float(np.mean(trust)),
            "least_trust": min(trust),
            "missing_frames": sum(name in moment.missing for moment in moments),
            "alarm_share": len(alarms) / len(moments),
            "first_alarm": alarms[0].frame_id if alarms else None,
            "attacked_frames": len(attacked),
            "attacked_alarms": sum(m.state.alarm == name for m in attacked),
        }
    return {
        "frames": len(moments),
        "alarm_share": float(np.mean([m.state.alarm is not None for m in moments])),
        "unattributed_share": float(np.mean([m.has_alarm for m in moments]))
        if known
        else None,
        "sensors": per_sensor,
    }


def in_words(summary: Mapping[str, Any]) -> str:
    """A line per sensor, and what alarms and their absence mean."""
    sensors, monitor = summary["sensors"], summary["monitor"]
    width = max(6, *map(len, sensors)) + 2
    lines = [
        f"{'sensor':<{width}}{'mean trust':>10}{'least':>8}{'missing':>9}"
        f"{'alarm in':>10}  first alarm"
    ]
    for name, one in sensors.items():
        lines.append(
            f"{name:<{width}}{one['mean_trust']:>10.2f}{one['least_trust']:>8.2f}"
            f"{one['missing_frames']:>9}{one['alarm_share']:>10.1%}  "
            f"{one['first_alarm'] or '-'}"
        )
    for name, one in sensors.items():
        if count := one["attacked_frames"]:
            hit = one["attacked_alarms"]
            lines.append(f"{name} attacked in {count} frames: alarm in {hit} of them")
    lines.append(
        f"{summary['frames']} frames, an alarm in {summary['alarm_share']:.1%}; of "
        f"clean frames {monitor['false_alarm_rate']:.1%} may raise one "
        f"(calibrated on {monitor['frames']})"
    )
    if summary["unattributed_share"] is not None:
        lines.append(
            f"an alarm of the gate in {summary['unattributed_share']:.1%} that it "
            "attributes to no sensor: one is compromised, but it is not known which"
        )
    lines.append(
        "No alarm is no proof that no sensor is compromised: a silent attacker stays "
        "within what the sensors agree on."
    )
    return "\n".join(lines)


def write_csv(
    path: str | os.PathLike, sensors: Sequence[str], moments: Sequence[Moment]
) -> None:
    """One line per frame; what is not known is empty.

    Raises:
        DataError: If it cannot be written.
    """
    names = [*sensors, "none"]
    header = ["frame", *(f"gate_{name}" for name in names)]
    header += [f"trust_{name}" for name in sensors]
    header += ["gate_alarm", "missing", "attacked", "score", "alarm"]
    rows = []
    for one in moments:
        gate = [""] * len(names) if one.gate is None else map(_digits, one.gate)
        trust = [_digits(one.state.trust[name]) for name in sensors]
        gate_alarm = "" if one.alarm is None else _digits(one.alarm)
        lists = "+".join(one.missing), "+".join(one.attacked)
        score, alarm = _digits(one.state.score), one.state.alarm or ""
        rows.append([one.frame_id, *gate, *trust, gate_alarm, *lists, score, alarm])
    with replacing(path) as new, new.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def _digits(value: float) -> str:
    return f"{value:.6g}"
