"""What a gate is worth as an alarm: how well and how soon it tells attacks.

Shape letters: N frames, S sensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from perception.models.consensus.monitor import Gates, SensorMonitor, gate_evidence

FALSE_ALARM_RATE = 0.01
SMOOTHING = 0.8
HORIZON = 20
"""Frames within which a monitor must raise the alarm."""


def calibrated_monitor(
    clean: Gates, sensors: Sequence[str]
) -> tuple[SensorMonitor, dict[str, Any]] | None:
    """A monitor for every other clean frame, checked on the frames between them.

    The false-alarm rate is 1 %, or as low as so few frames allow.

    Args:
        clean: (N, S + 1) gates of the clean frames, in order.
        sensors: The detector's.

    Returns:
        The monitor and what it is, for the results; None with fewer than two frames.
    """
    calibration, held_out = np.asarray(clean)[::2], np.asarray(clean)[1::2]
    if not len(held_out):
        return None
    rate = max(FALSE_ALARM_RATE, 1 / (len(calibration) + 1))
    monitor = SensorMonitor.calibrate(
        calibration, sensors=sensors, false_alarm_rate=rate, smoothing=SMOOTHING
    )
    alarms = [state.alarm is not None for state in monitor.follow(held_out)]
    described = monitor.to_json() | {
        "horizon": HORIZON,
        "held_out": {"frames": len(alarms), "false_alarm_rate": float(np.mean(alarms))},
    }
    return monitor, described


def attack_figures(
    monitor: SensorMonitor | None,
    clean: Gates,
    attacked: Gates,
    touched: Sequence[str],
) -> dict[str, Any]:
    """``auroc`` of all frames, and ``delay`` on the frames held out.

    Args:
        monitor: Calibrated on every other clean frame; None leaves the delay out.
        clean: (N, S + 1) gates of the clean frames, in order.
        attacked: (N, S + 1) gates of the attacked frames, in order.
        touched: Sensors attacked; of several, an alarm about any counts.
    """
    scores = [gate_evidence(gates).max(axis=1) for gates in (clean, attacked)]
    figures: dict[str, Any] = {"auroc": auroc(*scores), "delay": None}
    if monitor is None:
        return figures
    held_out = np.asarray(attacked)[1::2]
    delays = []
    for begin in range(max(1, len(held_out) - HORIZON + 1)):  # whole windows only
        monitor.reset()
        window = held_out[begin : begin + HORIZON]
        delays.append(detection_delay(monitor, window, touched))
    found = [delay for delay in delays if delay is not None]
    figures["delay"] = {
        "mean": float(np.mean(found)) if found else None,
        "detected": len(found) / len(delays),
        "starts": len(delays),
    }
    return figures


def auroc(clean: Sequence[float], attacked: Sequence[float]) -> float | None:
    """Probability that an attacked frame scores above a clean one, ties count half.

    The area under the ROC curve (Mann and Whitney 1947); None if either is empty.
    """
    if not len(clean) or not len(attacked):
        return None
    ordered = np.sort(clean)
    below = np.searchsorted(ordered, attacked, side="left")
    not_above = np.searchsorted(ordered, attacked, side="right")
    return float((below + not_above).mean() / (2 * len(ordered)))


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
