"""What a report says at a glance: worst cases, failures, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perception.evaluation.robustness.figures import (
    failure_figures,
    oracle_per_sensor,
    worst_per_sensor,
)
from perception.visualization.report.values import (
    Attacked,
    Measured,
    Number,
    difference,
    number,
)


@dataclass(frozen=True)
class Worst:
    """The attack that leaves the least; ``attack`` is "" where there was none.

    Attributes:
        attack: Its name.
        mean: Mean AP under it.
        in_vain: Whether it hardly raises the loss that it climbs.
    """

    attack: str
    mean: Number
    in_vain: bool = False


@dataclass(frozen=True)
class Headline:
    """A row of the headline table.

    Attributes:
        detector: The detector.
        worst: For each sensor the worst attack on it alone.
        lowest: The sensor with the lowest of these, "" without any.
        clean_drop: Points of clean mean AP below the baseline; None for the baseline
            and where frames differ.
        is_baseline: Whether the others are compared with it.
    """

    detector: Measured
    worst: Mapping[str, Worst]
    lowest: str
    clean_drop: Number
    is_baseline: bool

    @property
    def starred(self) -> bool:
        """Whether one of the worst attacks is in vain."""
        return any(worst.in_vain for worst in self.worst.values())


def headlines(detectors: Sequence[Measured]) -> list[Headline]:
    """One row per detector, compared with the first or with the one that files name."""
    names = {one.name: one for one in detectors}
    wanted = next((d.baseline for d in detectors if d.baseline in names), "")
    baseline = names.get(wanted, detectors[0])
    rows = []
    for one in detectors:
        worst = worst_cases(one)
        known = {k: w.mean for k, w in worst.items() if w.mean is not None}
        same = one is not baseline and one.frame_ids == baseline.frame_ids
        drop = difference(baseline.clean.mean, one.clean.mean) if same else None
        lowest = min(known, key=lambda k: known[k]) if known else ""
        rows.append(Headline(one, worst, lowest, drop, one is baseline))
    return rows


def worst_cases(detector: Measured) -> dict[str, Worst]:
    """For each sensor the worst attack on it alone; failures do not count."""
    worst = {name: Worst("", None) for name in detector.sensors}
    for name, found in worst_per_sensor(detector.entries).items():
        attack = detector.attacks[found["attack"]]
        worst[name] = Worst(attack.name, attack.attacked.mean, attack.in_vain)
    return worst


@dataclass(frozen=True)
class FailureGrid:
    """Mean AP of a detector when a sensor fails.

    Attributes:
        severities: The columns, ascending.
        rows: For each (sensor, kind) the mean AP per severity.
    """

    severities: tuple[int, ...]
    rows: Mapping[tuple[str, str], Mapping[int, Number]]


def failures(detector: Measured) -> FailureGrid | None:
    """From the detector's failures; None if none was measured."""
    rows = {
        (sensor, kind): {int(level): number(mean) for level, mean in cells.items()}
        for sensor, kinds in failure_figures(detector.entries).items()
        for kind, cells in kinds.items()
    }
    levels = sorted({level for cells in rows.values() for level in cells})
    return FailureGrid(tuple(levels), rows) if rows else None


@dataclass(frozen=True)
class Curve:
    """Mean AP of one detector over the budget of one attack.

    Attributes:
        detector: Its name.
        points: (factor of the threat model's budget, mean AP), ascending.
    """

    detector: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class CurveChart:
    """The curves of one attack, with lines to compare with.

    Attributes:
        attack: Name of the threat model.
        sensors: What it touches.
        curves: One per detector.
        levels: Mean AP of (name, value) that does not depend on the budget.
    """

    attack: str
    sensors: tuple[str, ...]
    curves: tuple[Curve, ...]
    levels: tuple[tuple[str, float], ...]


def curve_charts(detectors: Sequence[Measured]) -> list[CurveChart]:
    """A chart for each attack that was measured at two budgets or more."""
    found: dict[str, list[Curve]] = {}
    for one in detectors:
        for name, points in _points(one).items():
            if len(points) > 1:
                scales = {0.0: one.clean.mean, **points}
                known = [(x, y) for x, y in sorted(scales.items()) if y is not None]
                found.setdefault(name, []).append(Curve(one.name, tuple(known)))
    charts = []
    for name, curves in found.items():
        touched = _touched(detectors, name)
        levels = tuple(_levels(detectors, touched))
        charts.append(CurveChart(name, touched, tuple(curves), levels))
    return charts


def _points(detector: Measured) -> dict[str, dict[float, Number]]:
    """{attack: {factor of its budget: mean AP}}."""
    points: dict[str, dict[float, Number]] = {}
    for name, steps in detector.curves.items():
        for step in steps:
            scale = number(step["eps_scale"])
            if scale is not None:
                points.setdefault(name, {})[scale] = number(step["mAP"])
    for attack in detector.attacks.values():
        name, _, changes = attack.name.partition("@")
        base = detector.attacks.get(name)
        if base is None or not changes.startswith("eps=") or "," in changes:
            continue
        sizes = [_size(one) for one in (attack, base)]
        if sizes[0] is not None and sizes[1]:
            cells = points.setdefault(name, {1.0: base.attacked.mean})
            cells[sizes[0] / sizes[1]] = attack.attacked.mean
    return points


def _size(attack: Attacked) -> Number:
    eps: Any = attack.threat.get("eps")
    if isinstance(eps, Mapping):
        eps = next(iter(eps.values()), None)
    return number(eps)


def _touched(detectors: Sequence[Measured], attack: str) -> tuple[str, ...]:
    known = (one.attacks[attack].touched for one in detectors if attack in one.attacks)
    return next(known, ())


def _levels(
    detectors: Sequence[Measured], touched: Sequence[str]
) -> list[tuple[str, float]]:
    """Random guess, noise of the same budget, and the oracle of each detector."""
    levels = [("random guess", 0.0)]
    if len(touched) != 1:
        return levels
    for one in detectors:
        name = f" ({one.name})" if len(detectors) > 1 else ""
        noise = one.attacks.get(f"{touched[0]}_noise")
        told = oracle_per_sensor(one.entries, worst_per_sensor(one.entries)) or {}
        oracle = told.get(touched[0])
        for label, value in (
            ("noise of the same budget", noise.attacked.mean if noise else None),
            ("oracle", number(oracle["mAP"]) if oracle else None),
        ):
            if value is not None:
                levels.append((label + name, value))
    return levels
