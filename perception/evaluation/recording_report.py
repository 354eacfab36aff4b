"""What a monitor made of a recording: as a table, as CSV and in words.

Shape letters: N frames, S sensors.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perception.core.files import replacing
from perception.core.gate_state import ALARM, gate_state
from perception.evaluation.robustness.records import Gate
from perception.models.consensus.monitor import SensorState


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
    """

    frame_id: str
    gate: Gate
    alarm: float | None
    missing: tuple[str, ...]
    attacked: tuple[str, ...]
    state: SensorState

    @property
    def has_alarm(self) -> bool:
        """Whether the gate raises an alarm that it attributes to no sensor."""
        return gate_state(self.gate, tuple(self.state.trust), self.alarm) == ALARM


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
