"""What a gate makes of attacks: attribution, AUROC, delay to the alarm.

Shape letters: N frames, S sensors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from perception.core.gate_state import ALARM, NOBODY, attributed, gate_state
from perception.evaluation.robustness.records import Measured
from perception.evaluation.robustness.results import (
    AttackResult,
    ConfusionRow,
    Delay,
    Figure,
    GateCounts,
    GateResult,
    GateSummary,
    Monitor,
    single_sensor,
)
from perception.models.consensus.monitor import Gates, SensorMonitor, gate_evidence

FALSE_ALARM_RATE = 0.01
SMOOTHING = 0.8
HORIZON = 20
"""Frames within which a monitor must raise the alarm."""


def gate_result(measured: Measured, sensors: Sequence[str]) -> GateResult | None:
    """What the gate makes of an attack; None without a gate."""
    records = measured.records
    if records[0].gate_clean is None:
        return None
    clean = [record.gate_clean or () for record in records]
    attacked = [record.gate_attacked or () for record in records]
    counts = [
        _gate_counts(gates, alarms, sensors)
        for gates, alarms in (
            (clean, [record.alarm_clean for record in records]),
            (attacked, [record.alarm_attacked for record in records]),
        )
    ]
    right = sum(counts[1].attributed[name] for name in measured.attacked_sensors)
    scores = [gate_evidence(gates).max(axis=1) for gates in (clean, attacked)]
    monitor = calibrated(clean, sensors)
    return GateResult(
        clean=counts[0],
        attacked=counts[1],
        right_rate=right / len(records),
        auroc=auroc(*scores),
        delay=monitor and _delay(monitor[0], attacked, measured.attacked_sensors),
    )


def _gate_counts(
    gates: Sequence[Sequence[float]],
    alarms: Sequence[float | None],
    sensors: Sequence[str],
) -> GateCounts:
    names = [*sensors, NOBODY]
    likeliest = Counter(attributed(gate, sensors) for gate in gates)
    states = Counter(map(gate_state, gates, [sensors] * len(gates), alarms))
    mean = np.mean(gates, axis=0).tolist()
    return GateCounts(
        attributed={name: likeliest[name] for name in names},
        alarm=None if None in alarms else states[ALARM],
        mean=dict(zip(names, mean, strict=True)),
    )


def calibrated(
    clean: Sequence[Sequence[Figure] | None], sensors: Sequence[str]
) -> tuple[SensorMonitor, Monitor] | None:
    """A monitor for every other clean frame, checked on the frames between them.

    The false-alarm rate is 1 %, or as low as so few frames allow.

    Args:
        clean: (N, S + 1) gates of the clean frames, in order.
        sensors: The target's.

    Returns:
        The monitor and what it is, for the results; None with fewer than two frames.
    """
    calibration, held_out = np.asarray(clean)[::2], np.asarray(clean)[1::2]
    if not len(held_out):
        return None
    monitor = SensorMonitor.calibrate(
        calibration,
        sensors=sensors,
        false_alarm_rate=max(FALSE_ALARM_RATE, 1 / (len(calibration) + 1)),
        smoothing=SMOOTHING,
    )
    alarms = [state.alarm is not None for state in monitor.follow(held_out)]
    told = Monitor(
        calibration={k: _listed(v) for k, v in monitor.to_json().items()},
        frames=monitor.frames,
        false_alarm_rate=monitor.false_alarm_rate,
        smoothing=monitor.smoothing,
        horizon=HORIZON,
        held_out_frames=len(alarms),
        held_out_rate=float(np.mean(alarms)),
    )
    return monitor, told


def _delay(monitor: SensorMonitor, attacked: Gates, touched: Sequence[str]) -> Delay:
    """How soon a monitor names an attacked sensor, on the frames held out.

    Args:
        monitor: Calibrated on every other clean frame.
        attacked: (N, S + 1) gates of the attacked frames, in order.
        touched: Sensors attacked; of several, an alarm about any counts.
    """
    held_out = np.asarray(attacked)[1::2]
    delays = []
    for begin in range(max(1, len(held_out) - HORIZON + 1)):  # whole windows only
        monitor.reset()
        window = held_out[begin : begin + HORIZON]
        delays.append(detection_delay(monitor, window, touched))
    found = [delay for delay in delays if delay is not None]
    return Delay(
        mean=float(np.mean(found)) if found else None,
        detected=len(found) / len(delays),
        starts=len(delays),
    )


def gate_summary(
    attacks: Mapping[str, AttackResult], sensors: Sequence[str]
) -> GateSummary | None:
    """What the gate makes of all attacks on one sensor; None without a gate."""
    gates = {name: one.gate for name, one in attacks.items() if one.gate is not None}
    if not gates:
        return None
    clean = next(iter(gates.values())).clean
    rows = [ConfusionRow(None, dict(clean.attributed), clean.alarm)]
    single = single_sensor(attacks)
    for sensor in sensors:
        found = [
            gate.attacked for name, gate in gates.items() if single.get(name) == sensor
        ]
        if found:
            counts = Counter[str]()
            for one in found:
                counts.update(one.attributed)
            alarms = [one.alarm for one in found if one.alarm is not None]
            alarm = sum(alarms) if len(alarms) == len(found) else None
            rows.append(ConfusionRow(sensor, dict(counts), alarm))
    attacked = sum(sum(row.attributed.values()) for row in rows[1:])
    right = sum(row.attributed[row.sensor] for row in rows[1:] if row.sensor)
    quiet = clean.attributed[NOBODY] / sum(clean.attributed.values())
    return GateSummary(tuple(rows), right / attacked if attacked else None, 1 - quiet)


def auroc(clean: Sequence[float], attacked: Sequence[float]) -> float | None:
    """Probability that an attacked frame scores above a clean one, ties count half.

    The area under the ROC curve (Mann and Whitney 1947); None if either is empty.
    """
    if not len(clean) or not len(attacked):
        return None
    truth = np.repeat([0, 1], [len(clean), len(attacked)])
    return float(roc_auc_score(truth, np.concatenate([clean, attacked])))


def detection_delay(
    monitor: SensorMonitor, gates: Gates, sensors: Sequence[str] | None = None
) -> int | None:
    """Frames until the alarm, from the first attacked one on: 1 is at once.

    Args:
        monitor: As it is when the attack begins; it goes on from there.
        gates: (N, S + 1) the gate's probabilities of the attacked frames, in order.
        sensors: The alarm must name one of them; None takes any alarm.

    Returns:
        None if no such alarm comes within the N frames.
    """
    for number, gate in enumerate(np.asarray(gates), start=1):
        alarm = monitor.update(gate).alarm
        if alarm is not None and (sensors is None or alarm in sensors):
            return number
    return None


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
