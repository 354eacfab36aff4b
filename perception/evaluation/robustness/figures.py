"""Figures that compare attacks and detectors: pure functions of what reports say.

An *entry* is one attack's part of ``results.json`` (``AttackReport.to_json``), a
*detector* one element of ``robustness.json["detectors"]``. AP is mean AP (R40) of the
headline difficulty in percent; None where there was nothing to find.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Entry = Mapping[str, Any]
Failures = Mapping[str, Mapping[str, Mapping[str, float | None]]]

DEFINITIONS = {
    "worst": "lowest mean AP of all attacks on exactly that sensor, failures left out",
    "difference": "mean AP minus the baseline's, in points",
    "oracle": "mean AP under the sensor's worst attack, the fusion being told which "
    "sensor lies; gap: what the detector lacks of it",
    "gate_confusion": "frames by attacked sensor and by whom the gate blames most, "
    "over all single-sensor attacks but failures; clean frames once",
    "mCE": "mean corruption error in percent (Hendrycks and Dietterich 2019): for each "
    "kind of failure the sum over severities of 100 - mAP, relative to the baseline's",
    "mRR": "mean resilience rate in percent: mean AP under failure over clean mean AP, "
    "over severities and kinds",
    "spread": "sample standard deviation over the checkpoints of one config",
    "auroc": "probability that an attacked frame looks more suspicious to the gate "
    "than a clean one, by its highest log(p_sensor / p_none)",
    "delay": "frames until a SensorMonitor names an attacked sensor, 1 is at once; "
    "the attack beginning at each held-out frame in turn; mean where it does within "
    "the horizon; detected: how often it does",
}

VAIN_GAIN = 1.05
"""An attack must raise the detection loss by this factor to count as one."""
IN_VAIN = (
    "Raises the loss that it climbs by less than 5 %: against this gate it is no "
    "attack but noise of its budget, and no measure of robustness; look at the suites "
    "quiet and adaptive."
)


def mean_ap(entry: Entry, when: str = "attacked") -> float | None:
    """Mean AP of an entry, None without objects."""
    value: float | None = entry["ap"][when]["headline"]["mAP"]
    return value


def clean_ap(detector: Mapping[str, Any]) -> float | None:
    """Mean AP on clean frames, None if no attack succeeded or without objects."""
    clean = detector["clean"]
    return None if clean is None else clean["headline"]["mAP"]


def is_failure(entry: Entry) -> bool:
    """Whether nobody attacks: the sensor fails."""
    return entry["attack"]["threat"]["type"] == "Corruption"


def in_vain(entry: Entry) -> bool:
    """Whether a plain gradient attack on a gated detector gains hardly any loss.

    A gate that leaves the attacked sensor out leaves the attack no gradient either:
    what comes through is noise of its budget, and says little about the worst case.
    """
    if not entry.get("gate") or entry["attack"]["type"] not in ("PGD", "APGD"):
        return False
    if entry["attack"]["threat"].get("goal") != "detection":
        return False
    clean, attacked = entry["damage"]["clean"], entry["damage"]["attacked"]
    return None not in (clean, attacked) and attacked < VAIN_GAIN * clean


def single_sensor(attacks: Mapping[str, Entry]) -> dict[str, str]:
    """{attack: its sensor} of all attacks on exactly one sensor, without failures."""
    return {
        name: entry["touched"][0]
        for name, entry in attacks.items()
        if len(entry["touched"]) == 1 and not is_failure(entry)
    }


def worst_per_sensor(attacks: Mapping[str, Entry]) -> dict[str, dict[str, Any]]:
    """For each attacked sensor the attack that leaves the least mean AP, and that."""
    worst: dict[str, dict[str, Any]] = {}
    for name, sensor in single_sensor(attacks).items():
        left = mean_ap(attacks[name])
        if left is not None and (sensor not in worst or left < worst[sensor]["mAP"]):
            worst[sensor] = {"attack": name, "mAP": left}
    return worst


def worst_single_sensor(
    worst: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any] | None:
    """The sensor that it hurts most to attack; None if none was attacked."""
    if not worst:
        return None
    sensor = min(worst, key=lambda name: worst[name]["mAP"])
    return {"sensor": sensor, **worst[sensor]}


def oracle_per_sensor(
    attacks: Mapping[str, Entry], worst: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]] | None:
    """Each sensor's worst attack, the fusion told who lies; None without experts."""
    told: dict[str, dict[str, Any]] = {}
    for sensor, of_sensor in worst.items():
        entry = attacks[of_sensor["attack"]]
        left = mean_ap(entry, "oracle") if "oracle" in entry["ap"] else None
        if left is not None:
            told[sensor] = {
                "mAP": left,
                "expert": sensor,
                "attack": of_sensor["attack"],
                "gap": left - of_sensor["mAP"],
            }
    return told or None


def difference(
    detector: Mapping[str, Any], baseline: Mapping[str, Any]
) -> dict[str, float]:
    """Mean AP minus the baseline's: clean and under each attack."""
    mine, theirs = _all_figures(detector), _all_figures(baseline)
    return {
        name: value - theirs[name] for name, value in mine.items() if name in theirs
    }


def failure_figures(attacks: Mapping[str, Entry]) -> Failures:
    """{sensor: {kind: {severity: mean AP}}}."""
    figures: dict[str, dict[str, dict[str, float | None]]] = {}
    for entry in filter(is_failure, attacks.values()):
        threat = entry["attack"]["threat"]
        kinds = figures.setdefault(threat["sensor"], {})
        severities = kinds.setdefault(threat["kind"], {})
        severities[str(threat["severity"])] = mean_ap(entry)
    return figures


def mean_corruption_error(
    failures: Failures, baseline: Failures
) -> dict[str, float] | None:
    """Per sensor and as ``mean`` of them, relative to a baseline; None without any.

    Only kinds and severities that both have are compared.
    """
    figures = {}
    for sensor, kinds in failures.items():
        errors = []
        for kind, severities in kinds.items():
            theirs = baseline.get(sensor, {}).get(kind, {})
            pairs = [
                (100 - ours, 100 - reference)
                for severity, ours in severities.items()
                if ours is not None and (reference := theirs.get(severity)) is not None
            ]
            reference_error = sum(reference for _, reference in pairs)
            if reference_error > 0:
                errors.append(100 * sum(ours for ours, _ in pairs) / reference_error)
        if errors:
            figures[sensor] = statistics.fmean(errors)
    return _with_mean(figures)


def mean_resilience_rate(
    failures: Failures, clean: float | None
) -> dict[str, float] | None:
    """Per sensor and as ``mean`` of them; None without failures or clean AP."""
    if not clean:
        return None
    figures = {}
    for sensor, kinds in failures.items():
        rates = [
            statistics.fmean(100 * value / clean for value in known)
            for severities in kinds.values()
            if (known := [v for v in severities.values() if v is not None])
        ]
        if rates:
            figures[sensor] = statistics.fmean(rates)
    return _with_mean(figures)


def groups(
    detectors: Sequence[Mapping[str, Any]], group_of: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Mean and spread of detectors that are the same config trained several times.

    Args:
        detectors: With ``name``, ``clean``, ``attacks`` and ``worst``.
        group_of: {detector's name: its group's}.
    """
    members: dict[str, list[Mapping[str, Any]]] = {}
    for detector in detectors:
        members.setdefault(group_of[detector["name"]], []).append(detector)
    return [
        {
            "name": name,
            "detectors": [detector["name"] for detector in group],
            "seeds": len(group),
            "clean": _spread(clean_ap(detector) for detector in group),
            "attacks": _spreads([_attack_figures(detector) for detector in group]),
            "worst": _spreads([_worst_figures(detector) for detector in group]),
        }
        for name, group in members.items()
        if len(group) > 1
    ]


def _all_figures(detector: Mapping[str, Any]) -> dict[str, float]:
    """Clean mean AP and that of every attack, by name."""
    figures = {"clean": clean_ap(detector), **_attack_figures(detector)}
    return {name: value for name, value in figures.items() if value is not None}


def _attack_figures(detector: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: mean_ap(entry) for name, entry in detector["attacks"].items()}


def _worst_figures(detector: Mapping[str, Any]) -> dict[str, float | None]:
    return {sensor: worst["mAP"] for sensor, worst in detector["worst"].items()}


def _spreads(
    figures: Sequence[Mapping[str, float | None]],
) -> dict[str, dict[str, float] | None]:
    """Mean and spread of what all have."""
    shared = [name for name in figures[0] if all(name in one for one in figures)]
    return {name: _spread(one[name] for one in figures) for name in shared}


def _spread(values: Iterable[float | None]) -> dict[str, float] | None:
    """Mean and sample standard deviation; None if a value is missing."""
    numbers = list(values)
    known = [value for value in numbers if value is not None]
    if len(known) < max(2, len(numbers)):
        return None
    return {"mean": statistics.fmean(known), "spread": statistics.stdev(known)}


def _with_mean(figures: dict[str, float]) -> dict[str, float] | None:
    if not figures:
        return None
    return {**figures, "mean": statistics.fmean(figures.values())}
