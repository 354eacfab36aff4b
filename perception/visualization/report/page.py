"""The report: results and pictures as one HTML file that needs nothing else.

The page's content security policy forbids every request and every script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from perception.core.files import replacing
from perception.core.structures import DataError
from perception.evaluation.detection.report import FEW, FEW_OBJECTS
from perception.evaluation.robustness.figures import (
    mean_corruption_error,
    mean_resilience_rate,
)
from perception.evaluation.robustness.results import (
    AttackResult,
    Figure,
    Spread,
)
from perception.evaluation.robustness.tables import (
    INEFFECTIVE,
    ap,
    few,
    gate_warning,
    interval,
)
from perception.visualization.captions import budget_of
from perception.visualization.report.charts import css_colour, legend_chart, top_of
from perception.visualization.report.gallery import read_gallery
from perception.visualization.report.runs import Run, read_runs
from perception.visualization.report.summary import (
    budget_charts,
    gate_charts,
    severity_charts,
    worst_chart,
)

FEW_NOTE = (
    f"Some class has {FEW_OBJECTS}. Compare on the same frames only, and take more."
)


def write_report(
    results: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    gallery: Sequence[str | os.PathLike] = (),
    title: str = "Robustness report",
    most_pictures: int = 200,
) -> None:
    """Write the page about files of results and folders of pictures.

    Args:
        results: Files written by tools/attack.py or tools/robustness.py.
        out: The HTML file.
        gallery: Folders written by ``tools/visualize.py detect --threat``.
        title: Of the page.
        most_pictures: Show so many attacked frames, spread evenly.

    Raises:
        DataError: If anything cannot be read or written, or contradicts itself.
    """
    runs = read_runs(results)
    environment = _environment()
    source = environment.loader.get_source  # type: ignore[union-attr]
    script = source(environment, "report.js")[0]
    digest = hashlib.sha256(script.encode()).digest()
    try:
        content = _content(runs)
    except ValueError as error:
        raise DataError(f"results: {error}") from error
    page = environment.get_template("report.html.j2").render(
        title=title,
        gallery=read_gallery(gallery, most=most_pictures),
        style=source(environment, "report.css")[0],
        script=script,
        script_hash=base64.b64encode(digest).decode("ascii"),
        **content,
    )
    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("perception.visualization.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "above": _above,
        "breakable": _breakable,
        "budget": lambda attack, sensors: budget_of(attack.threat, sensors),
        "count": lambda number, noun: f"{number} {noun}{'' if number == 1 else 's'}",
        "counted": _counted,
        "counts": _counts,
        "fixed": ap,
        "interval": lambda accuracy: interval(accuracy and accuracy.headline).strip(),
        "leaves": _leaves,
        "sensor": css_colour,
        "signed": _signed,
        "starred": _starred,
    }
    return environment


def _content(runs: Sequence[Run]) -> dict[str, Any]:
    """Everything that the template shows and would have to compute."""
    names = dict.fromkeys(name for run in runs for name in run.attacks)
    attacks: dict[str, dict[str, AttackResult]] = {
        name: {run.name: run.attacks[name] for run in runs if name in run.attacks}
        for name in names
    }
    cells = [cell for one in attacks.values() for cell in one.values()]
    means = [run.result.clean_mean for run in runs] + [cell.mean for cell in cells]
    top = top_of(mean for mean in means if mean is not None)
    failing = {cell.name for cell in cells if cell.corruption}
    same_frames = len({run.frame_ids for run in runs}) == 1
    wanted = {file.baseline for run in runs for file in run.files}
    baseline = next((run for run in runs if run.result.name in wanted), runs[0])
    return {
        "runs": runs,
        "baseline": baseline,
        "sensors": {k: v for run in runs for k, v in run.sensors.items()},
        "classes": list(dict.fromkeys(c for run in runs for c in run.files[0].classes)),
        "same_frames": same_frames,
        "attacks": {k: v for k, v in attacks.items() if k not in failing},
        "failing": {k: v for k, v in attacks.items() if k in failing},
        "lowest": {k: _lowest(v) for k, v in attacks.items()} if same_frames else {},
        "top": top,
        "worst_chart": worst_chart(runs, top),
        "budgets": budget_charts(runs, top),
        "gates": gate_charts(runs),
        "severities": severity_charts(runs, top),
        "legend": legend_chart([run.name for run in runs]),
        "spreads": _spreads(runs),
        "notes": {run.name: _notes(run, baseline) for run in runs},
        "ineffective": INEFFECTIVE,
        "stars": any(cell.ineffective for cell in cells),
        "worst_stars": any(
            one.ineffective for run in runs for one in run.result.worst.values()
        ),
        "few_objects": FEW_NOTE,
        "few": any(run.few_objects for run in runs),
        "warnings": {run.name: gate_warning(run.result) for run in runs},
    }


def _above(after: Figure, before: Figure) -> Figure:
    """Points above another figure: negative where something was lost."""
    return None if after is None or before is None else after - before


def _lowest(cells: Mapping[str, AttackResult]) -> Figure:
    """The least mean AP that an attack leaves; None unless detectors differ."""
    means = {cell.mean for cell in cells.values() if cell.mean is not None}
    return min(means) if len(means) > 1 else None


def _spreads(runs: Sequence[Run]) -> list[tuple[str, int, str, Spread]]:
    """(config, number of trainings, figure, its spread) where there are several."""
    groups = {
        (group.name, group.detectors): group
        for run in runs
        for file in run.files
        for group in file.groups
    }
    rows = []
    for group in groups.values():
        worst = {f"worst on {sensor}": one for sensor, one in group.worst.items()}
        for name, one in {"clean": group.clean, **worst, **group.attacks}.items():
            if one is not None:
                rows.append((group.name, len(group.detectors), name, one))
    return rows


def _notes(run: Run, base: Run) -> dict[str, str]:
    """What there is to say about a detector as a whole, and how to repeat it."""
    one, infos, frames = run.result, [file.run for file in run.files], run.frame_ids
    reference = base.result.corruptions if frames == base.frame_ids else {}
    rates = {
        "mCE, mean corruption error": mean_corruption_error(one.corruptions, reference),
        "mRR, mean resilience": mean_resilience_rate(one.corruptions, one.clean_mean),
    }
    notes = {
        "config": one.config,
        "config SHA-256": one.config_sha256,
        "checkpoint": one.checkpoint,
        "checkpoint SHA-256": one.checkpoint_sha256,
        "attacks file": ", ".join(dict.fromkeys(info.attacks_file for info in infos)),
        "data": infos[0].data_root,
        "split": infos[0].split,
        "frames": " … ".join(dict.fromkeys((frames[0], frames[-1]))),
        "objects": _counts(run.objects),
        "seeds": ", ".join(dict.fromkeys(str(s) for info in infos for s in info.seeds)),
        "finished": ", ".join(dict.fromkeys(info.finished for info in infos)),
        "collected with": ", ".join(f"{k} {v}" for k, v in infos[0].versions.items()),
        "environment": _environments(run.attacks.values()),
    }
    for title, figures in rates.items():
        texts = [f"{name} {value:.1f} %" for name, value in (figures or {}).items()]
        notes[title] = ", ".join(texts)
    notes |= {f"{name} was not measured": why for name, why in one.failed.items()}
    notes |= {f"{name} does not apply": why for name, why in one.not_applicable.items()}
    if one.audit:
        failed = ", ".join(one.audit.failed) or "yes"
        notes["audit"] = "passed" if one.audit.passed else f"failed: {failed}"
    return {name: text for name, text in notes.items() if text}


def _environments(attacks: Iterable[AttackResult]) -> str:
    """What attacked; where that differs, which attacks."""
    names: dict[str, list[str]] = {}
    for attack in attacks:
        if where := "; ".join(map(str, attack.environments)):
            names.setdefault(where, []).append(attack.name)
    if len(names) == 1:
        return next(iter(names))
    return "; ".join(f"{where} ({', '.join(of)})" for where, of in names.items())


def _counts(objects: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {_counted(count)}" for name, count in objects.items())


def _counted(count: int) -> str:
    """A number of objects, marked if it is small."""
    return f"{count}\N{NO-BREAK SPACE}{FEW}" if few(count) else str(count)


def _signed(value: Figure) -> str:
    return "–" if value is None else f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _starred(value: Figure, star: bool) -> str:
    """A figure, with a star where no attack made it."""
    return ap(value) + ("\N{NO-BREAK SPACE}*" if star and value is not None else "")


def _breakable(name: str) -> Markup:
    """A name that may be broken after its separators, so that columns stay narrow."""
    return Markup(re.sub(r"([_.@/]+)(?=[^\W\d])", r"\1<wbr>", str(escape(name))))


def _leaves(value: Any, name: str = "") -> list[tuple[str, str]]:
    """A nested description as (dotted name, text) pairs."""
    if isinstance(value, Mapping):
        inner = list(value.items())
    elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        inner = list(enumerate(value))
    else:
        return [(name, value if isinstance(value, str) else json.dumps(value))]
    named = [(f"{name}.{key}" if name else str(key), one) for key, one in inner]
    return [leaf for inner_name, one in named for leaf in _leaves(one, inner_name)]
