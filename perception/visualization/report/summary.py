"""The charts of a page, from the detectors' results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from perception.evaluation.robustness.results import Figure
from perception.visualization.report.charts import (
    Points,
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
        clean, worst = run.result.clean_mean, run.result.worst
        bars = [] if clean is None else [("", clean, f"{clean:.1f} clean")]
        for name in [name for name in run.sensors if name in worst]:
            star = " *" if worst[name].ineffective else ""
            text = f"{worst[name].mean:.1f}{star} {name} attacked, {worst[name].attack}"
            bars.append((name, worst[name].mean, text))
        if bars:
            groups[run.name] = bars
    return bars_chart("Worst cases of each detector", groups, top) if groups else None


def budget_charts(runs: Sequence[Run], top: float) -> list[Chart]:
    """A chart for each attack that was measured at two budgets or more."""
    found: dict[str, dict[str, Points]] = {}
    for run in runs:
        for name, means in _over_budget(run).items():
            if len(means) > 1:
                lines = found.setdefault(name, {})
                lines[run.name] = _points({0.0: run.result.clean_mean, **means})
    charts = []
    for name, lines in found.items():
        known = [run.attacks[name] for run in runs if name in run.attacks]
        sensors = known[0].attacked_sensors if known else ()
        scales = {0.0, *(x for points in lines.values() for x, _ in points)}
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


def _over_budget(run: Run) -> dict[str, dict[float, Figure]]:
    """{attack: {factor of its budget: mean AP}}, from curves and ``NAME@eps=…``."""
    found = {
        name: {step.scale: step.mean for step in steps}
        for name, steps in run.result.curves.items()
    }
    for attack in run.attacks.values():
        name, _, changes = attack.name.partition("@")
        base = run.attacks.get(name)
        if base and changes.startswith("eps=") and "," not in changes:
            size, whole = _size(attack.threat.get("eps")), _size(base.threat.get("eps"))
            if size and whole:
                found.setdefault(name, {1.0: base.mean})[size / whole] = attack.mean
    return found


def _size(eps: object) -> float:
    """Of a budget the first channel's; 0 where it is no number."""
    if isinstance(eps, Mapping):
        eps = next(iter(eps.values()), 0.0)
    return float(eps) if isinstance(eps, int | float) else 0.0


def _points(means: Mapping[float, Figure]) -> Points:
    return [(x, mean) for x, mean in sorted(means.items()) if mean is not None]


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
    found: dict[tuple[str, str], dict[str, Points]] = {}
    for run in runs:
        for sensor, kinds in run.result.corruptions.items():
            for kind, means in kinds.items():
                lines = found.setdefault((sensor, kind), {})
                lines[run.name] = _points({float(x): y for x, y in means.items()})
    charts = []
    for (sensor, kind), lines in found.items():
        svg = lines_chart(
            f"Mean AP over the severity of {kind}, {sensor}",
            lines,
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
