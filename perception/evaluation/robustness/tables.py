"""Results as text: ``robustness.md`` and what ``tools/attack.py`` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from perception.core.gate_state import NOBODY, false_alarm_warning
from perception.evaluation.detection.kitti_ap import RECALLS
from perception.evaluation.detection.report import FEW, FEW_OBJECTS
from perception.evaluation.robustness.results import (
    Accuracy,
    AttackResult,
    AuditResult,
    DetectorResult,
    Figure,
    GateResult,
    MeanAP,
    Results,
)
from perception.evaluation.robustness.suites import SUITES, resistance

NOTHING = "–"
STAR = " *"
INEFFECTIVE = (
    "Raises the loss that it climbs by less than 5 %: against this gate it is no "
    "attack but noise of its budget, and no measure of robustness; look at the suites "
    "quiet and adaptive."
)
NOTE = f"\\* {INEFFECTIVE}"
CLEAN_ROW = "none (clean)"


def markdown(results: Results) -> str:
    """All tables of a run."""
    run, scoring = results.run, results.scoring
    said = scoring.explained
    lines = [
        "# Robustness",
        "",
        f"{said[0].upper()}{said[1:]} on "
        f"{len(results.frame_ids)} frames of `{run.split}` in `{run.data_root}`; "
        f"attacks `{' '.join(run.suite)}`, attack seed "
        f"{', '.join(map(str, run.seeds))}. Differences are to "
        f"`{results.baseline}`, in points; in brackets 95 % intervals over frames like "
        "these (bootstrap).",
        "",
        f"Objects to find: {_objects(results)}.",
        *_few_note(results),
        *(f"\n{name}: {told}" for name, told in _warnings(results)),
    ]
    sections = (
        ("Summary", _summary(results)),
        ("Each attack", _attacks(results)),
        ("Boxes in metres", _space(results)),
        ("Corruptions, severity 1 to 5", _corruptions(results)),
        ("Published suites: resistance ability RA and mRA", _suites(results)),
        ("Classes", _classes(results)),
        ("Several trainings, mean ± standard deviation", _groups(results)),
        ("Which sensor the gate's alarm is attributed to", _confusions(results)),
        ("How well and how soon the gate tells", _alarms(results)),
        ("Budgets", _curves(results)),
        ("What was not measured", list(_gaps(results))),
    )
    for title, body in sections:
        if body:
            lines += ["", f"## {title}", "", *body]
    where = "; ".join(map(str, results.environments))
    lines += ["", f"Reproduce: `{run.command}`. This run took {run.wall_s:.0f} s."]
    lines[-1] += f" Attacked on {where}." if where else ""
    return "\n".join([*lines, ""])


def attack_table(results: Results) -> str:
    """One line per attack on the only detector: AP, success, loss, gate and speed."""
    (detector,) = results.detectors
    attacks = detector.attacks.values()
    width = max(6, *(len(one.name) for one in attacks)) + 2
    classes = "".join(f"{_marked(results, name):>14}" for name in results.classes)
    header = (
        f"{'attack':<{width}}{'clean':>8}{'attacked':>11}{'':>16}{classes}{'KITTI':>7}"
        f"{'':>9}{'success':>9}{'lost':>10}{'false':>7}{'loss':>15}{'gate':>6}"
        f"{'s/frame':>9}"
    )
    return "\n".join(
        [
            header,
            *(_attack_line(one, width, results) for one in attacks),
            *(
                f"{one.name}: changed nothing in any frame"
                for one in attacks
                if not one.changed
            ),
            *([f"* {INEFFECTIVE}"] if any(one.ineffective for one in attacks) else []),
            *(told for _, told in _warnings(results)),
            *_space_lines(results),
            f"objects to find: {_objects(results)}",
            *filter(None, _few_note(results)),
            f"clean, attacked: {results.scoring.explained}, in brackets its 95 % "
            "interval over frames like these; classes: clean > attacked; KITTI: mean "
            "AP at KITTI's own overlaps;",
            "success: frames where an object was lost or a false detection appeared; "
            "loss: detection loss; gate: how often its alarm is attributed to an "
            "attacked sensor",
        ]
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table; none without rows."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines] if rows else []


def ap(value: Figure) -> str:
    """An AP or another percentage with one digit."""
    return NOTHING if value is None else f"{value:.1f}"


def starred(attack: AttackResult) -> str:
    """Mean AP under an attack, with a star if it is ineffective, and its interval."""
    star = STAR if attack.ineffective else ""
    return ap(attack.mean) + star + interval(attack.ap.attacked.headline)


def interval(found: MeanAP | None) -> str:
    """`` [low, high]``, or nothing where it is not known."""
    return span(None if found is None else found.interval)


def span(of: tuple[float, float] | None) -> str:
    """`` [low, high]`` of a figure, or nothing."""
    return "" if of is None else f" [{of[0]:.1f}, {of[1]:.1f}]"


def objects_to_find(results: Results) -> dict[str, int]:
    """{class: objects to find at the headline difficulty} in the clean frames."""
    clean = next((one.clean for one in results.detectors if one.clean), None)
    level, found = results.scoring.headline, clean.headline.classes if clean else {}
    return {name: levels[level].objects for name, levels in found.items()}


def few(objects: int | None) -> bool:
    """Whether a figure of so many objects is low, and jumps, whatever is scored."""
    return objects is not None and 0 < objects < RECALLS


def _marked(results: Results, name: str) -> str:
    """A class's name, marked if there are few objects of it."""
    return f"{name} {FEW}" if few(objects_to_find(results).get(name)) else name


def _objects(results: Results) -> str:
    counts = objects_to_find(results)
    told = [f"{_marked(results, name)} {count}" for name, count in counts.items()]
    return ", ".join(told) or "none"


def _few_note(results: Results) -> list[str]:
    """What the mark of few objects means, if there are some."""
    some = any(map(few, objects_to_find(results).values()))
    return ["", f"{FEW} {FEW_OBJECTS}."] if some else []


def _warnings(results: Results) -> list[tuple[str, str]]:
    """Detectors whose gate accuses sensors in clean frames, and what that means."""
    named = [(one.name, gate_warning(one)) for one in results.detectors]
    return [(name, text) for name, text in named if text]


def gate_warning(detector: DetectorResult) -> str | None:
    """What to tell of a gate that accuses sensors in clean frames; None if quiet."""
    gates = [one.gate for one in detector.attacks.values() if one.gate]
    return false_alarm_warning(gates[0].clean.attributed) if gates else None


def _attack_line(one: AttackResult, width: int, results: Results) -> str:
    level, cells = results.scoring.headline, ""
    for name in results.classes:
        sides = [
            ap(s.headline.classes[name][level].r40)
            if name in s.headline.classes
            else NOTHING
            for s in (one.ap.clean, one.ap.attacked)
        ]
        cells += f"{' > '.join(sides):>14}"
    star = "*" if one.ineffective else " "
    clean, attacked, success = one.ap.clean, one.ap.attacked, one.success
    lost, false = f"{success.lost}/{success.found_clean}", f"+{success.false_new}"
    gate = "-" if one.gate is None else f"{one.gate.right_rate:.0%}"
    return (
        f"{one.name:<{width}}"
        f"{_two(clean.headline.mean):>8}{_two(attacked.headline.mean):>10}{star}"
        f"{interval(attacked.headline):<16}{cells}"
        f"{_two(clean.kitti.mean):>7}{'-> ' + _two(attacked.kitti.mean):>9}"
        f"{success.rate:>9.0%}{lost:>10}{false:>7}{_losses(one):>15}{gate:>6}"
        f"{one.seconds_per_frame:>9.2f}"
    )


def _losses(one: AttackResult) -> str:
    loss = one.detection_loss
    return "-" if loss is None else f"{_two(loss.clean)} -> {_two(loss.attacked)}"


def _two(value: Figure) -> str:
    return "n/a" if value is None else f"{value:.2f}"


def _rate(value: Figure) -> str:
    """A share, 0 to 1, in percent."""
    return NOTHING if value is None else f"{100 * value:.1f} %"


def _names(results: Results, *, corruptions: bool = False) -> dict[str, str]:
    """{attack: its sensors} of attacks that any detector has, as asked for."""
    found = {
        name: ", ".join(one.attacked_sensors)
        for detector in results.detectors
        for name, one in detector.attacks.items()
        if (one.corruption is not None) == corruptions
    }
    return {name: found[name] for name in results.attacks if name in found}


def _summary(results: Results) -> list[str]:
    """One row per detector."""
    sensors = list(results.sensors)
    header = ["detector", "clean", "Δ", *(f"worst {name}" for name in sensors)]
    header += ["minimum", "Δ", "below oracle", "gate right", "false alarms"]
    header += ["mCE", "mRR", "audit"]
    base = next(one for one in results.detectors if one.name == results.baseline)
    rows = []
    for one in results.detectors:
        row = [one.name, _clean(one, results)]
        row += [_versus(one.clean_mean, base.clean_mean, one, base)]
        for name in sensors:
            found = one.worst.get(name)
            row.append(f"{_least(one, name)} ({found.attack})" if found else NOTHING)
        row += [_least(one, one.worst_sensor)]
        row += [_versus(_minimum(one), _minimum(base), one, base)]
        gaps = [oracle.gap for oracle in one.oracle.values()]
        row += [ap(max(gaps)) if gaps else NOTHING]
        rates = (
            (one.gate.right_rate, one.gate.false_alarms) if one.gate else (None,) * 2
        )
        row += map(_rate, rates)
        row += [ap(one.mce.get("mean")), ap(one.mrr.get("mean")), _verdict(one.audit)]
        rows.append(row)
    return [
        *table(header, rows),
        "",
        "Worst: the attack on that sensor alone that leaves the least; minimum: of all "
        "sensors; below oracle: the largest gap to the fusion that is told which "
        "sensor is compromised, under a sensor's worst attack.",
        *_noted(rows),
    ]


def _minimum(detector: DetectorResult) -> Figure:
    sensor = detector.worst_sensor
    return None if sensor is None else detector.worst[sensor].mean


def _least(detector: DetectorResult, sensor: str | None) -> str:
    """What a sensor's worst attack leaves."""
    if sensor is None:
        return NOTHING
    worst = detector.worst[sensor]
    return ap(worst.mean) + (STAR if worst.ineffective else "")


def _noted(rows: Sequence[Sequence[str]]) -> list[str]:
    """The note below a table, if one of its cells has a star."""
    return ["", NOTE] if any(STAR in cell for row in rows for cell in row) else []


def _versus(
    mine: Figure, theirs: Figure, one: DetectorResult, base: DetectorResult
) -> str:
    if one is base or mine is None or theirs is None:
        return NOTHING
    return f"{mine - theirs:+.1f}"


def _verdict(audit: AuditResult | None) -> str:
    if audit is None:
        return NOTHING
    return "passed" if audit.passed else "**FLAGGED**: " + ", ".join(audit.failed)


def _attacks(results: Results) -> list[str]:
    """One row per attack, one column per detector."""
    detectors = results.detectors
    rows = [
        [name, touched, *(_attacked(one, name) for one in detectors)]
        for name, touched in _names(results).items()
    ]
    header = ["attack", "on", *(one.name for one in detectors)]
    clean = ["clean", "", *(_clean(one, results) for one in detectors)]
    return [*table(header, [clean, *rows]), *_noted(rows)] if rows else []


_SPACE = (
    *("BEV", "3D", "0.5 m", "1 m", "2 m", "4 m", "2 m, 95 %"),
    *("off by m", "rad", "moved m", "lost"),
)


def _space_cells(found: Accuracy | None, attack: AttackResult | None) -> list[str]:
    """AP of boxes in metres, and how far an attack moved the nearest objects."""
    space = None if found is None else found.space
    if space is None:
        return [NOTHING] * len(_SPACE)
    moved = None if attack is None else attack.displacement
    return [
        ap(space.bev),
        ap(space.volume),
        *(ap(value) for value in space.centers.values()),
        span(space.interval).strip() or NOTHING,
        _two(space.translation_m),
        _two(space.orientation_rad),
        NOTHING if moved is None else _two(moved.mean_m),
        NOTHING if moved is None else f"{moved.lost}/{moved.lost + moved.frames}",
    ]


def _space_rows(detector: DetectorResult) -> list[list[str]]:
    """Clean and under each attack; none for image boxes alone."""
    if detector.clean is None or detector.clean.space is None:
        return []
    return [
        ["clean", *_space_cells(detector.clean, None)],
        *(
            [name, *_space_cells(one.ap.attacked, one)]
            for name, one in detector.attacks.items()
        ),
    ]


def _space(results: Results) -> list[str]:
    """One row per detector and attack: mean AP in metres, metres moved."""
    rows = [[one.name, *row] for one in results.detectors for row in _space_rows(one)]
    note = (
        "AP of boxes on the ground, in space and by centre distance, in brackets its "
        "95 % interval over frames like these; off, rad: mean distance and angle to "
        "the truth of true positives within 2 m; moved, lost: the nearest object of a "
        "frame, from where it was said to be on clean inputs."
    )
    return [*table(["detector", "attack", *_SPACE], rows), "", note] if rows else []


def _space_lines(results: Results) -> list[str]:
    """The same as plain text, of the only detector."""
    (detector,) = results.detectors
    rows = _space_rows(detector)
    width = max([6, *(len(row[0]) for row in rows)]) + 2
    lines = [["in metres", *_SPACE], *rows] if rows else []
    return [
        f"{line[0]:<{width}}" + "".join(f"{cell:>14}" for cell in line[1:])
        for line in lines
    ]


def _clean(detector: DetectorResult, results: Results) -> str:
    """Clean mean AP, marked if there are few objects of some class; its interval."""
    if detector.clean is None:
        return NOTHING
    found = detector.clean.headline
    mark = f" {FEW}" if any(map(few, objects_to_find(results).values())) else ""
    return ap(found.mean) + mark + interval(found)


def _attacked(detector: DetectorResult, name: str) -> str:
    """AP under an attack, and the difference to the baseline."""
    if name not in detector.attacks:
        return "does not apply" if name in detector.not_applicable else NOTHING
    value, change = starred(detector.attacks[name]), detector.difference.get(name)
    return value if change is None else f"{value} ({change:+.1f})"


def _corruptions(results: Results) -> list[str]:
    found = [detector.corruptions for detector in results.detectors]
    kinds = {(s, kind) for one in found for s, kinds in one.items() for kind in kinds}
    rows = []
    for sensor, kind in sorted(kinds):
        cells = (_severities(one, sensor, kind) for one in results.detectors)
        rows.append([sensor, kind, *(cell or NOTHING for cell in cells)])
    return table(["sensor", "corruption", *(d.name for d in results.detectors)], rows)


def _suites(results: Results) -> list[str]:
    """As MultiCorrupt publishes it: a line per detector, a table per suite."""
    found = [(one, resistance(one)) for one in results.detectors]
    lines: list[str] = []
    for suite, title in SUITES.items():
        ours = [(one, kinds[suite]) for one, kinds in found if suite in kinds]
        named = dict.fromkeys(kind for _, kinds in ours for kind in kinds)
        columns = [*(kind for kind in named if kind != "mRA"), "mRA"]
        rows = []
        for one, kinds in ours:
            cells = [f"{kinds[c]:.3f}" if c in kinds else NOTHING for c in columns]
            rows.append([one.name, ap(one.clean_mean), *cells])
        if rows:
            lines += [*table([title, "clean AP", *columns], rows), ""]
    return lines[:-1]


def _severities(detector: DetectorResult, sensor: str, kind: str) -> str:
    """Mean AP at each severity of a corruption, with its interval."""
    found = {
        what.severity: one.ap.attacked.headline
        for one in detector.attacks.values()
        if (what := one.corruption) and (what.sensor, what.kind) == (sensor, kind)
    }
    return " / ".join(f"{ap(m.mean)}{interval(m)}" for _, m in sorted(found.items()))


def _classes(results: Results) -> list[str]:
    """AP per class, clean and under each attack."""
    classes, level = results.classes, results.scoring.headline

    def cell(found: Accuracy | None) -> str:
        if found is None:
            return NOTHING
        cells = found.headline.classes
        return " / ".join(
            ap(cells[c][level].r40) if c in cells else NOTHING for c in classes
        )

    rows = [["clean", *(cell(one.clean) for one in results.detectors)]]
    for name in _names(results):
        found = [one.attacks.get(name) for one in results.detectors]
        rows.append([name, *(cell(one.ap.attacked if one else None) for one in found)])
    told = " / ".join(_marked(results, name) for name in classes)
    return table(["attack", *(f"{d.name}: {told}" for d in results.detectors)], rows)


def _groups(results: Results) -> list[str]:
    """Mean ± spread of detectors that differ by their training's seed alone."""
    rows = []
    for group in results.groups:
        figures = {"clean": group.clean}
        figures |= {f"worst {name}": value for name, value in group.worst.items()}
        figures |= group.attacks
        rows += [
            [
                group.name,
                str(len(group.detectors)),
                name,
                f"{value.mean:.1f} ± {value.spread:.1f}",
            ]
            for name, value in figures.items()
            if value is not None
        ]
    return table(["config", "trainings", "figure", results.scoring.figure], rows)


def _confusions(results: Results) -> list[str]:
    """One table per gate: frames by attacked sensor and by attributed sensor."""
    lines: list[str] = []
    for detector in results.detectors:
        if detector.gate is None:
            continue
        names, confusion = [*detector.sensors, NOBODY], detector.gate.confusion
        header = [f"`{detector.name}`, frames; attacked:", *names]
        rows = [
            [row.sensor or CLEAN_ROW, *(str(row.attributed[name]) for name in names)]
            for row in confusion
        ]
        if all(row.alarm is not None for row in confusion):
            header.append("none, but an alarm")
            rows = [[*r, str(c.alarm)] for r, c in zip(rows, confusion, strict=True)]
        lines += ["", *table(header, rows)] if lines else table(header, rows)
    return lines


def _alarms(results: Results) -> list[str]:
    """AUROC and detection delay of each gate under each attack."""
    gated = [one for one in results.detectors if one.gate is not None]
    names = [*_names(results), *_names(results, corruptions=True)]
    rows = []
    for name in names if gated else []:
        found = [one.attacks.get(name) for one in gated]
        rows.append([name, *(_alarm(one.gate if one else None) for one in found)])
    header = ["AUROC; frames to the alarm (how often)", *(one.name for one in gated)]
    notes = [
        f"`{one.name}`: monitor with smoothing {m.smoothing:g}, calibrated on "
        f"{m.frames} clean frames for {_rate(m.false_alarm_rate)} false alarms; "
        f"{_rate(m.held_out_rate)} on {m.held_out_frames} others; the alarm must come "
        f"within {m.horizon} frames."
        for one in gated
        if (m := one.monitor)
    ]
    return [*table(header, rows), "", *notes] if rows else []


def _alarm(gate: GateResult | None) -> str:
    if gate is None:
        return NOTHING
    text = NOTHING if gate.auroc is None else f"{gate.auroc:.3f}"
    if (delay := gate.delay) is None:
        return text
    return f"{text}; {ap(delay.mean)} ({100 * delay.detected:.0f} %)"


def _curves(results: Results) -> list[str]:
    """AP over the budget."""
    rows = []
    for detector in results.detectors:
        for name, points in detector.curves.items():
            shown = ", ".join(
                f"×{p.scale:g}: {ap(p.mean)}{span(p.interval)}" for p in points
            )
            rows.append([detector.name, name, shown])
    return table(
        ["detector", "attack", f"{results.scoring.figure} by factor of the budget"],
        rows,
    )


def _gaps(results: Results) -> Iterator[str]:
    for detector in results.detectors:
        for name, reason in detector.not_applicable.items():
            yield f"* `{detector.name}`, {name}: does not apply ({reason})"
        for name, reason in detector.failed.items():
            yield f"* `{detector.name}`, {name}: **failed** ({reason})"
