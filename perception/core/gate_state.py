"""What a gate makes of a frame as a whole: quiet, an alarm, or an attributed alarm.

Shape letters: S sensors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NOBODY = "none"
"""The gate's last class: no sensor is compromised."""
ALARM = "alarm"
"""Some sensor is compromised, but it is not known which."""


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
