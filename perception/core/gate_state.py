"""What a gate makes of a frame as a whole: quiet, an alarm, or an attributed alarm.

Shape letters: S sensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

NOBODY = "none"
"""The gate's last class: no sensor is compromised."""
ALARM = "alarm"
"""Some sensor is compromised, but it is not known which."""
MOST_FALSE_ALARMS = 0.1
"""Share of clean frames with an attributed alarm that no calibrated gate reaches."""


def attributed(gate: Sequence[float] | None, sensors: Sequence[str]) -> str | None:
    """The gate's likeliest class: a sensor's name or ``"none"``; None without a gate.

    Args:
        gate: (S + 1,) probabilities, the last one of "no sensor is compromised".
        sensors: S names, in the gate's order.
    """
    return None if gate is None else [*sensors, NOBODY][int(np.argmax(gate))]


def gate_state(
    gate: Sequence[float] | None, sensors: Sequence[str], alarm: float | None
) -> str | None:
    """The sensor an alarm is attributed to, ``"alarm"`` or ``"none"``.

    Args:
        gate: (S + 1,) the gate's probabilities; None without a gate.
        sensors: S names, in the gate's order.
        alarm: Above 0 if some sensor is compromised; None for gates that raise no
            alarm without attributing it.

    Returns:
        None without a gate.
    """
    likeliest = attributed(gate, sensors)
    return ALARM if likeliest == NOBODY and (alarm or 0.0) > 0 else likeliest


def false_alarm_warning(counts: Mapping[Any, int]) -> str | None:
    """What to tell where a gate accuses sensors in clean frames; None if it is quiet.

    A gate that was not calibrated after a training leaves benign sensors out, and so
    ruins every figure, without a word.

    Args:
        counts: Clean frames by the sensor that an alarm is attributed to, or
            ``"none"``.
    """
    frames = sum(counts.values())
    accused = {name: n for name, n in counts.items() if n and name != NOBODY}
    if sum(accused.values()) < max(2, MOST_FALSE_ALARMS * frames):
        return None
    told = ", ".join(f"{name} in {n}" for name, n in accused.items())
    return (
        f"warning: of {frames} clean frames the gate accuses {told}: what it accuses "
        "is left out, and all figures are lower for it. tools/calibrate.py shows an "
        "aggregator's gate clean frames; needed after every training"
    )
