"""Tables about gates: whom they blame, how well and how soon they tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perception.evaluation.robustness.cells import (
    NOTHING,
    Results,
    attack_names,
    rate,
    table,
)


def blame_tables(results: Results) -> list[str]:
    """One table per gate: frames by attacked sensor and by whom it blames."""
    lines: list[str] = []
    for detector in results["detectors"]:
        if confusion := detector["gate_confusion"]:
            names = confusion["names"]
            rows = [
                [truth, *(str(row[name]) for name in names)]
                for truth, row in confusion["rows"].items()
            ]
            header = [f"`{detector['name']}`, frames; attacked:", *names]
            if doubts := confusion.get("in_doubt"):
                header.append("none, but in doubt")
                rows = [[*row, str(doubts[row[0]])] for row in rows]
            lines += ["", *table(header, rows)] if lines else table(header, rows)
    return lines


def alarm_table(results: Results) -> list[str]:
    """AUROC and detection delay of each gate under each attack."""
    gated = [one for one in results["detectors"] if one["has_gate"]]
    rows = []
    for name, _ in [
        *attack_names(results, failures=False),
        *attack_names(results, failures=True),
    ]:
        cells = [name]
        for detector in gated:
            gate = detector["attacks"].get(name, {}).get("gate")
            cells.append(_told(gate) if gate else NOTHING)
        rows.append(cells)
    if not rows or not gated:
        return []
    header = ["AUROC; frames to the alarm (how often)", *(one["name"] for one in gated)]
    notes = [
        f"`{one['name']}`: monitor with smoothing {m['smoothing']:g}, calibrated on "
        f"{m['frames']} clean frames for {rate(m['false_alarm_rate'])} false alarms; "
        f"{rate(m['held_out']['false_alarm_rate'])} on "
        f"{m['held_out']['frames']} others; the alarm must come within {m['horizon']} "
        "frames."
        for one in gated
        if (m := one["monitor"])
    ]
    return [*table(header, rows), "", *notes]


def _told(gate: Mapping[str, Any]) -> str:
    auroc, delay = gate.get("auroc"), gate.get("delay")
    text = NOTHING if auroc is None else f"{auroc:.3f}"
    if delay is None:
        return text
    mean = NOTHING if delay["mean"] is None else f"{delay['mean']:.1f}"
    return f"{text}; {mean} ({100 * delay['detected']:.0f} %)"
