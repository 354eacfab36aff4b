"""A detector's derived figures, until the evaluation computes them on the schema."""

from __future__ import annotations

from dataclasses import replace

from perception.evaluation.robustness.results import (
    AttackResult,
    ConfusionRow,
    DetectorResult,
    GateSummary,
    Oracle,
    Worst,
)


def summarised(one: DetectorResult) -> DetectorResult:
    """The same with worst cases, oracle, gate and corruptions of its attacks."""
    worst, oracle = {}, {}
    corruptions: dict = {}
    for attack in one.attacks.values():
        if found := attack.corruption:
            kinds = corruptions.setdefault(found.sensor, {})
            kinds.setdefault(found.kind, {})[str(found.severity)] = attack.mean
        elif len(attack.attacked_sensors) == 1 and attack.mean is not None:
            (sensor,) = attack.attacked_sensors
            if sensor not in worst or attack.mean < worst[sensor].mean:
                worst[sensor] = Worst(attack.name, attack.mean, attack.ineffective)
    for sensor, least in worst.items():
        told = one.attacks[least.attack].ap.oracle
        if told and (mean := told.headline.mean) is not None:
            oracle[sensor] = Oracle(least.attack, mean, mean - least.mean)
    gate = _gate(one)
    return replace(one, worst=worst, oracle=oracle, gate=gate, corruptions=corruptions)


def _gate(one: DetectorResult) -> GateSummary | None:
    attacks = [a for a in one.attacks.values() if a.gate is not None]
    if not attacks:
        return None
    clean = attacks[0].gate.clean
    rows = [ConfusionRow(None, clean.attributed, clean.alarm)]
    for sensor in one.sensors:
        own = [a for a in attacks if _only(a, sensor)]
        if own:
            counts = [a.gate.attacked for a in own]
            total = {n: sum(c.attributed[n] for c in counts) for n in clean.attributed}
            alarms = [c.alarm for c in counts]
            alarm = None if None in alarms else sum(alarms)
            rows.append(ConfusionRow(sensor, total, alarm))
    right = sum(row.attributed[row.sensor] for row in rows[1:])
    frames = sum(sum(row.attributed.values()) for row in rows[1:])
    false = 1 - clean.attributed["none"] / sum(clean.attributed.values())
    return GateSummary(tuple(rows), right / frames if frames else None, false)


def _only(attack: AttackResult, sensor: str) -> bool:
    return attack.corruption is None and attack.attacked_sensors == (sensor,)
