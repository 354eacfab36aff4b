"""The report: results and pictures as one HTML file that needs nothing else.

The page's content security policy forbids every request and every script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from perception.core.files import replacing
from perception.core.structures import DataError, SensorSpec
from perception.evaluation.robustness.figures import (
    IN_VAIN,
    failure_figures,
    mean_corruption_error,
    mean_resilience_rate,
)
from perception.visualization.captions import budget_of
from perception.visualization.report.gallery import Gallery, read_gallery
from perception.visualization.report.gate import confusion
from perception.visualization.report.results import read_results
from perception.visualization.report.summary import (
    curve_charts,
    failures,
    headlines,
)
from perception.visualization.report.svg import draw_chart, rgb
from perception.visualization.report.values import Attacked, Measured, Number
from perception.visualization.style import BOX_STYLES, IN_DOUBT, sensor_colour

_LEGEND = ("ground_truth", "correct", "false", "missed")


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
        DataError: If anything cannot be read or written.
    """
    detectors = read_results(results)
    pictures = read_gallery(gallery, most=most_pictures)
    page = render(detectors, pictures, title=title)
    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render(
    detectors: Sequence[Measured],
    gallery: Gallery | None = None,
    *,
    title: str = "Robustness report",
) -> str:
    """The page as text.

    Raises:
        DataError: If what tools/robustness.py adds to the figures is damaged.
    """
    try:
        summary = _summary(detectors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"results: damaged summary: {error!r}") from error
    environment = _environment()
    source = environment.loader.get_source  # type: ignore[union-attr]
    script = source(environment, "report.js")[0]
    digest = hashlib.sha256(script.encode()).digest()
    return environment.get_template("report.html.j2").render(
        title=title,
        detectors=detectors,
        gallery=gallery or Gallery(),
        in_doubt=IN_DOUBT,
        in_vain=IN_VAIN,
        legend=[BOX_STYLES[name] for name in _LEGEND],
        style=source(environment, "report.css")[0],
        script=script,
        script_hash=base64.b64encode(digest).decode("ascii"),
        **summary,
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("perception.visualization.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "mean": _fixed,
        "percent": partial(_fixed, scale=100.0, places=0),
        "signed": _signed,
        "drop": _drop,
        "rgb": rgb,
        "sensor": lambda name: rgb(sensor_colour(name)),
        "leaves": _leaves,
        "budget": _budget,
        "lowest": _lowest,
    }
    return environment


def _summary(detectors: Sequence[Measured]) -> dict[str, Any]:
    """Everything that the template shows and would have to compute."""
    names = [one.name for one in detectors]
    sensors: dict[str, SensorSpec] = {}
    for one in detectors:
        sensors |= {k: v for k, v in one.sensors.items() if k not in sensors}
    attacks: dict[str, Attacked] = {}
    for one in detectors:
        attacks |= {k: v for k, v in one.attacks.items() if k not in attacks}
    rows = headlines(detectors)
    baseline = next(row.detector for row in rows if row.is_baseline)
    return {
        "sensors": sensors,
        "headlines": rows,
        "attacks": {k: v for k, v in attacks.items() if not v.failure},
        "starred_attacks": any(
            a.in_vain for d in detectors for a in d.attacks.values()
        ),
        "failing": {k: v for k, v in attacks.items() if v.failure},
        "charts": [draw_chart(chart, names) for chart in curve_charts(detectors)],
        "confusions": _of_each(detectors, confusion),
        "failures": _of_each(detectors, failures),
        "groups": _groups(detectors),
        "notes": {one.name: _notes(one, baseline) for one in detectors},
        "same_frames": len({one.frame_ids for one in detectors}) == 1,
    }


def _of_each(
    detectors: Sequence[Measured], what: Callable[[Measured], Any]
) -> dict[str, Any]:
    found = {one.name: what(one) for one in detectors}
    return {name: value for name, value in found.items() if value is not None}


def _groups(detectors: Sequence[Measured]) -> list[Mapping[str, Any]]:
    """Configs with several seeds: clean, and each attack, mean and spread."""
    groups: dict[tuple[str, int], dict[str, Any]] = {}
    for one in detectors:
        for group in one.groups:
            name, seeds = str(group["name"]), group["seeds"]
            cells = {"clean": group["clean"], **group.get("attacks", {})}
            known = groups.setdefault(
                (name, seeds), {"name": name, "seeds": seeds, "cells": {}}
            )
            known["cells"] |= {
                attack: (v["mean"], v.get("spread")) for attack, v in cells.items()
            }
    return list(groups.values())


def _notes(detector: Measured, baseline: Measured) -> list[tuple[str, str]]:
    """What there is to say about a detector as a whole."""
    failures, reference = map(failure_figures, (detector.entries, baseline.entries))
    same = detector.frame_ids == baseline.frame_ids
    figures = {
        "mCE, mean corruption error": (
            mean_corruption_error(failures, reference) if same else None
        ),
        "mRR, mean resilience": mean_resilience_rate(failures, detector.clean.mean),
    }
    notes = _made_on(detector)
    for title, cells in figures.items():
        if cells:
            texts = [f"{name} {_fixed(value)} %" for name, value in cells.items()]
            notes.append((title, ", ".join(texts)))
    for name, reason in detector.failed.items():
        notes.append((f"{name} was not measured", reason))
    if audit := detector.audit:
        failed = ", ".join(audit["failed"]) or "yes"
        notes.append(("audit", "passed" if audit["passed"] else f"failed: {failed}"))
    return notes


def _made_on(detector: Measured) -> list[tuple[str, str]]:
    """What attacked; where that differs, which attacks."""
    attacks: dict[str, list[str]] = {}
    for attack in detector.attacks.values():
        if attack.made_on:
            attacks.setdefault("; ".join(attack.made_on), []).append(attack.name)
    if len(attacks) == 1:
        return [("attacked on", device) for device in attacks]
    texts = [f"{device} ({', '.join(names)})" for device, names in attacks.items()]
    return [("attacked on", "; ".join(texts))] if texts else []


def _fixed(value: Number, scale: float = 1.0, places: int = 1) -> str:
    return "–" if value is None else f"{scale * value:.{places}f}"


def _signed(value: Number) -> str:
    return "–" if value is None else f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _drop(value: Number) -> str:
    """A loss in points, as a signed change."""
    return _signed(None if value is None else 0.0 - value)


def _budget(attack: Attacked, sensors: Mapping[str, SensorSpec]) -> str:
    return budget_of(attack.threat, sensors)


def _lowest(detectors: Sequence[Measured], attack: str) -> Number:
    """The least mean AP that an attack leaves; None unless detectors differ."""
    found = [one.attacks[attack] for one in detectors if attack in one.attacks]
    means = {one.attacked.mean for one in found if one.attacked.mean is not None}
    return min(means) if len(means) > 1 else None


def _leaves(value: Any, name: str = "") -> list[tuple[str, str]]:
    """A nested description as (dotted name, text) pairs."""
    if isinstance(value, Mapping):
        pairs = [(f"{name}.{k}" if name else str(k), v) for k, v in value.items()]
    elif isinstance(value, list) and any(isinstance(v, Mapping) for v in value):
        pairs = [(f"{name}[{n}]", v) for n, v in enumerate(value)]
    else:
        return [(name, _plain(value))]
    return [leaf for inner, v in pairs for leaf in _leaves(v, inner)]


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return str(value)
