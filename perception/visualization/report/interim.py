"""Derived figures until ``evaluation.robustness.figures`` has these very functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from perception.evaluation.robustness.results import (
    AttackResult,
    ConfusionRow,
    Figure,
    GateSummary,
    Oracle,
    Worst,
)

Attacks = Mapping[str, AttackResult]


def worst_per_sensor(attacks: Attacks) -> dict[str, Worst]:
    """For each attacked sensor the attack that leaves the least mean AP."""
    worst: dict[str, Worst] = {}
    for name, one in attacks.items():
        if len(one.attacked_sensors) == 1 and one.corruption is None:
            (sensor,), left = one.attacked_sensors, one.mean
            if left is not None and (sensor not in worst or left < worst[sensor].mean):
                worst[sensor] = Worst(name, left, one.ineffective)
    return worst


def oracle_per_sensor(
    attacks: Attacks, worst: Mapping[str, Worst]
) -> dict[str, Oracle]:
    """Each sensor's worst attack, the fusion being told which is compromised."""
    told = {}
    for sensor, found in worst.items():
        oracle = attacks[found.attack].ap.oracle
        if oracle is not None and (left := oracle.headline.mean) is not None:
            told[sensor] = Oracle(found.attack, left, left - found.mean)
    return told


def gate_summary(attacks: Attacks, sensors: Sequence[str]) -> GateSummary | None:
    """What the gate makes of all attacks on one sensor; None without a gate."""
    gated = [one for one in attacks.values() if one.gate is not None]
    if not gated or gated[0].gate is None:
        return None
    clean = gated[0].gate.clean
    rows = [ConfusionRow(None, dict(clean.attributed), clean.alarm)]
    for sensor in sensors:
        found = [
            one.gate.attacked
            for one in gated
            if one.attacked_sensors == (sensor,) and not one.corruption and one.gate
        ]
        if found:
            counts = Counter[str]()
            for one in found:
                counts.update(one.attributed)
            alarms = [one.alarm for one in found if one.alarm is not None]
            alarm = sum(alarms) if len(alarms) == len(found) else None
            rows.append(ConfusionRow(sensor, dict(counts), alarm))
    quiet = clean.attributed["none"] / sum(clean.attributed.values())
    return GateSummary(tuple(rows), None, 1 - quiet)


def corruption_figures(attacks: Attacks) -> dict[str, dict[str, dict[str, Figure]]]:
    """{sensor: {kind: {severity: mean AP}}}."""
    figures: dict[str, dict[str, dict[str, Figure]]] = {}
    for one in attacks.values():
        if (what := one.corruption) is not None:
            kinds = figures.setdefault(what.sensor, {})
            kinds.setdefault(what.kind, {})[str(what.severity)] = one.mean
    return figures
