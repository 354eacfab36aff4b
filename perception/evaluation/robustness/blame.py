"""Whom a gate blames: pure functions of attacks' entries, as in robustness_figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perception.evaluation.robustness.figures import Entry, single_sensor

CLEAN_ROW = "none (clean)"


def gate_confusion(
    attacks: Mapping[str, Entry], sensors: Sequence[str]
) -> dict[str, Any] | None:
    """Frames by truly attacked sensor and by whom the gate blames; None without one.

    ``in_doubt``: how many of those that blame nobody have somebody lie all the same,
    if every attack's gate could tell.
    """
    gated = {name: entry for name, entry in attacks.items() if entry.get("gate")}
    if not gated:
        return None
    names = [*sensors, "none"]
    clean = next(iter(gated.values()))["gate"]["clean"]
    rows = {CLEAN_ROW: dict(clean["blamed"])}
    doubts = {CLEAN_ROW: [clean.get("in_doubt")]}
    for name, sensor in single_sensor(gated).items():
        row = rows.setdefault(sensor, dict.fromkeys(names, 0))
        gate = gated[name]["gate"]["attacked"]
        for blamed, count in gate["blamed"].items():
            row[blamed] += count
        doubts.setdefault(sensor, []).append(gate.get("in_doubt"))
    ordered = {name: rows[name] for name in [CLEAN_ROW, *sensors] if name in rows}
    confusion = {"names": names, "rows": ordered}
    if all(count is not None for counts in doubts.values() for count in counts):
        confusion["in_doubt"] = {name: sum(counts) for name, counts in doubts.items()}
    return confusion


def gate_rates(confusion: Mapping[str, Any] | None) -> dict[str, float | None]:
    """Share of attacked frames blamed rightly, and of clean ones blamed on anybody."""
    if confusion is None:
        return {"gate_accuracy": None, "false_alarms": None}
    rows = dict(confusion["rows"])
    clean = rows.pop(CLEAN_ROW)
    attacked = sum(sum(row.values()) for row in rows.values())
    right = sum(row[sensor] for sensor, row in rows.items())
    return {
        "gate_accuracy": right / attacked if attacked else None,
        "false_alarms": 1 - clean["none"] / sum(clean.values()),
    }
