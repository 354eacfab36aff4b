"""The charts of a page, from the detectors' results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from perception.evaluation.robustness.results import AttackResult, CurvePoint
from perception.evaluation.robustness.tables import interval
from perception.visualization.report.charts import (
    Bar,
    Point,
    bars_chart,
    gate_chart,
    lines_chart,
)
from perception.visualization.report.runs import Run


@dataclass(frozen=True)
class Chart:
    """A chart with its heading: a name, and the sensors that it is about."""

    name: str
    sensors: tuple[str, ...]
    svg: Markup


def worst_chart(runs: Sequence[Run], top: float) -> Markup | None:
    """Clean figure and worst case of each sensor, as bars; None without any."""
    groups = {}
    for run in runs:
        clean, worst = run.result.clean, run.result.worst
        bars = []
        if clean and clean.headline.mean is not None:
            found = clean.headline
            text = f"{found.mean:.1f}{interval(found)} clean"
            bars = [Bar("", clean.headline.mean, text, found.interval)]
        for name in [name for name in run.sensors if name in worst]:
            star = " *" if worst[name].ineffective else ""
            found = run.attacks[worst[name].attack].ap.attacked.headline
            text = f"{worst[name].mean:.1f}{star}{interval(found)} {name} attacked, "
            text += worst[name].attack
            bars.append(Bar(name, worst[name].mean, text, found.interval))
        if bars:
            groups[run.name] = bars
    return bars_chart("Worst cases of each detector", groups, top) if groups else None


def budget_charts(runs: Sequence[Run], top: float) -> list[Chart]:
    """A chart for each attack that was measured at two budgets or more."""
    found: dict[str, dict[str, list[Point]]] = {}
    for run in runs:
        clean = run.result.clean
        first = (
            [CurvePoint(0.0, clean.headline.mean, clean.headline.interval)]
            if clean
            else []
        )
        for name, steps in _over_budget(run).items():
            if len(steps) > 1:
                lines = found.setdefault(name, {})
                lines[run.name] = _points([*first, *steps.values()])
    charts = []
    for name, lines in found.items():
        known = [run.attacks[name] for run in runs if name in run.attacks]
        sensors = known[0].attacked_sensors if known else ()
        scales = {0.0, *(point.x for points in lines.values() for point in points)}
        svg = lines_chart(
            f"Mean AP over the budget of {name}",
            lines,
            [run.name for run in runs],
            top=top,
            ticks={x: f"{x:.3g}×" if x else "clean" for x in scales},
            x_label="budget",
            levels={run.name: _levels(run, sensors) for run in runs},
        )
        charts.append(Chart(name, sensors, svg))
    return charts


def _over_budget(run: Run) -> dict[str, dict[float, CurvePoint]]:
    """{attack: {factor of its budget: mean AP}}, from curves and ``NAME@eps=…``."""
    found = {
        name: {float(step.scale): step for step in steps}
        for name, steps in run.result.curves.items()
    }
    for attack in run.attacks.values():
        name, _, changes = attack.name.partition("@")
        base = run.attacks.get(name)
        if base and changes.startswith("eps=") and "," not in changes:
            size, whole = _size(attack.threat.get("eps")), _size(base.threat.get("eps"))
            if size and whole:
                steps = found.setdefault(name, {1.0: _measured(1.0, base)})
                steps[size / whole] = _measured(size / whole, attack)
    return found


def _size(eps: object) -> float:
    """Of a budget the first channel's; 0 where it is no number."""
    if isinstance(eps, Mapping):
        eps = next(iter(eps.values()), 0.0)
    return float(eps) if isinstance(eps, int | float) else 0.0


def _measured(x: float, attack: AttackResult) -> CurvePoint:
    found = attack.ap.attacked.headline
    return CurvePoint(x, found.mean, found.interval)


def _points(steps: Iterable[CurvePoint]) -> list[Point]:
    """Those that have a figure, in order."""
    known = [Point(s.scale, s.mean, s.interval) for s in steps if s.mean is not None]
    return sorted(known, key=lambda point: point.x)


def _levels(run: Run, sensors: Sequence[str]) -> dict[str, float]:
    """What an attack on a single sensor is compared with: oracle and noise."""
    if len(sensors) != 1:
        return {}
    oracle = run.result.oracle.get(sensors[0])
    noise = run.attacks.get(f"{sensors[0]}_noise")
    told = {"oracle": oracle.mean if oracle else None}
    told["noise"] = noise.mean if noise else None
    return {name: mean for name, mean in told.items() if mean is not None}


def severity_charts(runs: Sequence[Run], top: float) -> list[Chart]:
    """A chart for each way in which a sensor failed."""
    found: dict[tuple[str, str], dict[str, list[CurvePoint]]] = {}
    for run in runs:
        for one in run.attacks.values():
            if what := one.corruption:
                lines = found.setdefault((what.sensor, what.kind), {})
                step = _measured(float(what.severity), one)
                lines.setdefault(run.name, []).append(step)
    charts = []
    for (sensor, kind), lines in found.items():
        svg = lines_chart(
            f"Mean AP over the severity of {kind}, {sensor}",
            {name: _points(steps) for name, steps in lines.items()},
            [run.name for run in runs],
            top=top,
            ticks={float(level): str(level) for level in range(1, 6)},
            x_label="severity",
            small=True,
        )
        charts.append(Chart(kind.replace("_", " "), (sensor,), svg))
    return charts


def gate_charts(runs: Sequence[Run]) -> list[Chart]:
    """Which sensor a gate's alarms are attributed to, under attacks on one sensor."""
    charts = []
    for run in runs:
        if gate := run.result.gate:
            title = f"Alarms of the gate of {run.name}"
            svg = gate_chart(title, tuple(run.sensors), gate.confusion)
            charts.append(Chart(run.name, (), svg))
    return charts
