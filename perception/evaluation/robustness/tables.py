"""``robustness.md``: the results as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from perception.core.provenance import told
from perception.evaluation.robustness.cells import (
    NOTHING,
    Results,
    ap,
    attack_names,
    rate,
    signed,
    table,
)
from perception.evaluation.robustness.figures import (
    IN_VAIN,
    clean_ap,
    in_vain,
    mean_ap,
)
from perception.evaluation.robustness.gate_tables import alarm_table, blame_tables

Detector = Mapping[str, Any]

STAR = " *"
NOTE = f"\\* {IN_VAIN}"


def markdown(results: Results) -> str:
    """All tables of a run, from the content of ``robustness.json``."""
    frames, scoring = len(results["frame_ids"]), results["scoring"]
    seeds = ", ".join(map(str, results["seeds"]))
    overlaps = ", ".join(f"{n} {v:g}" for n, v in scoring["overlaps"].items())
    lines = [
        "# Robustness",
        "",
        f"Mean AP in percent (R40, {scoring['headline']}; overlaps {overlaps}) on "
        f"{frames} frames of `{results['split']}` in `{results['data_root']}`; attacks "
        f"`{results['suite']}`, attack seed {seeds}. Differences are to "
        f"`{results['baseline']}`, in points.",
    ]
    sections = (
        ("Summary", _summary(results)),
        ("Each attack", _attacks(results)),
        ("Failures, severity 1 to 5", _failures(results)),
        ("Classes", _classes(results)),
        ("Several trainings, mean ± standard deviation", _groups(results)),
        ("Whom the gate blames", blame_tables(results)),
        ("How well and how soon the gate tells", alarm_table(results)),
        ("Budgets", _curves(results)),
        ("What was not measured", list(_gaps(results))),
    )
    for title, body in sections:
        if body:
            lines += ["", f"## {title}", "", *body]
    wall_s = results["environment"].get("wall_s")
    took = "" if wall_s is None else f" This run took {wall_s:.0f} s."
    devices = "; ".join(map(told, results["environment"].get("made_on", ())))
    where = f" Attacked on {devices}." if devices else ""
    lines += ["", f"Reproduce: `{results['command']}`.{took}{where}", ""]
    return "\n".join(lines)


def _summary(results: Results) -> list[str]:
    """One row per detector."""
    sensors = list(results["sensors"])
    header = ["detector", "clean", "Δ", *(f"worst {name}" for name in sensors)]
    header += ["minimum", "Δ", "below oracle", "gate right", "false alarms"]
    header += ["mCE", "mRR", "audit"]
    base = next(d for d in results["detectors"] if d["name"] == results["baseline"])
    rows = []
    for one in results["detectors"]:
        worst, least = one["worst"], one["worst_single_sensor"]
        row = [
            one["name"],
            ap(clean_ap(one)),
            _versus(clean_ap(one), clean_ap(base), one, base),
        ]
        for name in sensors:
            found = worst.get(name)
            row.append(_worst(one, found) if found else NOTHING)
        minimum = least and least["mAP"]
        theirs = base["worst_single_sensor"] and base["worst_single_sensor"]["mAP"]
        gaps = [told["gap"] for told in (one["oracle"] or {}).values()]
        row += [ap(minimum) + (_star(one, least["attack"]) if least else "")]
        row += [_versus(minimum, theirs, one, base)]
        row += [ap(max(gaps)) if gaps else NOTHING]
        row += [rate(one["gate_accuracy"]), rate(one["false_alarms"])]
        row += [ap((one[name] or {}).get("mean")) for name in ("mCE", "mRR")]
        rows.append([*row, _verdict(one["audit"])])
    return [
        *table(header, rows),
        "",
        "Worst: the attack on that sensor alone that leaves the least; minimum: of all "
        "sensors; below oracle: the largest gap to the fusion that is told who lies, "
        "under a sensor's worst attack.",
        *_noted(rows),
    ]


def _worst(detector: Detector, found: Mapping[str, Any]) -> str:
    """What a sensor's worst attack leaves, and its name."""
    star = _star(detector, found["attack"])
    return f"{ap(found['mAP'])}{star} ({found['attack']})"


def _star(detector: Detector, attack: str) -> str:
    return STAR if in_vain(detector["attacks"][attack]) else ""


def _noted(rows: Sequence[Sequence[str]]) -> list[str]:
    """The note below a table, if one of its cells has a star."""
    return ["", NOTE] if any(STAR in cell for row in rows for cell in row) else []


def _versus(
    mine: float | None, theirs: float | None, one: Detector, base: Detector
) -> str:
    if one is base or mine is None or theirs is None:
        return NOTHING
    return signed(mine - theirs)


def _verdict(audit: Mapping[str, Any] | None) -> str:
    if audit is None:
        return NOTHING
    return "passed" if audit["passed"] else "**FLAGGED**: " + ", ".join(audit["failed"])


def _attacks(results: Results) -> list[str]:
    """One row per attack, one column per detector."""
    detectors = results["detectors"]
    rows = [
        [name, touched, *(_attacked(one, name) for one in detectors)]
        for name, touched in attack_names(results, failures=False)
    ]
    header = ["attack", "on", *(one["name"] for one in detectors)]
    clean = ["clean", "", *(ap(clean_ap(one)) for one in detectors)]
    if not rows:
        return []
    return [*table(header, [clean, *rows]), *_noted(rows)]


def _attacked(detector: Detector, name: str) -> str:
    """AP under an attack, and the difference to the baseline."""
    if name not in detector["attacks"]:
        return "does not apply" if name in detector["not_applicable"] else NOTHING
    entry = detector["attacks"][name]
    value = ap(mean_ap(entry)) + _star(detector, name)
    change = detector.get("difference", {}).get(name)
    return value if change is None else f"{value} ({change:+.1f})"


def _failures(results: Results) -> list[str]:
    detectors = results["detectors"]
    kinds = {
        (sensor, kind)
        for detector in detectors
        for sensor, of_sensor in detector["failures"].items()
        for kind in of_sensor
    }
    rows = []
    for sensor, kind in sorted(kinds):
        cells = []
        for detector in detectors:
            found = detector["failures"].get(sensor, {}).get(kind, {})
            cells.append(" / ".join(ap(found[s]) for s in sorted(found)) or NOTHING)
        rows.append([sensor, kind, *cells])
    header = ["sensor", "failure", *(detector["name"] for detector in detectors)]
    return table(header, rows) if rows else []


def _classes(results: Results) -> list[str]:
    """AP per class, clean and under each attack."""
    detectors, classes = results["detectors"], results["classes"]
    blocks = {"clean": [detector["clean"] for detector in detectors]}
    for name, _ in attack_names(results, failures=False):
        entries = [detector["attacks"].get(name) for detector in detectors]
        blocks[name] = [entry and entry["ap"]["attacked"] for entry in entries]
    level = results["scoring"]["headline"]
    rows = []
    for name, found in blocks.items():
        cells = [name]
        for block in found:
            values = [
                block and block["headline"]["classes"][c][level]["R40"] for c in classes
            ]
            cells.append(" / ".join(map(ap, values)) if block else NOTHING)
        rows.append(cells)
    header = ["attack", *(f"{one['name']}: {' / '.join(classes)}" for one in detectors)]
    return table(header, rows)


def _groups(results: Results) -> list[str]:
    """Mean ± spread of detectors that differ by their training's seed alone."""
    rows = []
    for group in results["groups"]:
        figures = {"clean": group["clean"]}
        figures |= {f"worst {name}": value for name, value in group["worst"].items()}
        figures |= group["attacks"]
        rows += [
            [
                group["name"],
                str(group["seeds"]),
                name,
                f"{value['mean']:.1f} ± {value['spread']:.1f}",
            ]
            for name, value in figures.items()
            if value is not None
        ]
    return table(["config", "trainings", "figure", "mean AP"], rows) if rows else []


def _curves(results: Results) -> list[str]:
    """AP over the budget."""
    rows = []
    for detector in results["detectors"]:
        for name, points in detector["curves"].items():
            shown = [f"×{p['eps_scale']:g}: {ap(p['mAP'])}" for p in points]
            rows.append([detector["name"], name, ", ".join(shown)])
    return (
        table(["detector", "attack", "mean AP by factor of the budget"], rows)
        if rows
        else []
    )


def _gaps(results: Results) -> Iterator[str]:
    for detector in results["detectors"]:
        for name, reason in detector["not_applicable"].items():
            yield f"* `{detector['name']}`, {name}: does not apply ({reason})"
        for name, reason in detector["failed"].items():
            yield f"* `{detector['name']}`, {name}: **failed** ({reason})"
