"""How figures are written in the tables of ``robustness.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perception.evaluation.robustness.figures import is_failure

Results = Mapping[str, Any]
NOTHING = "–"


def ap(value: float | None) -> str:
    """An AP or another percentage with one digit."""
    return NOTHING if value is None else f"{value:.1f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def signed(value: float | None) -> str:
    """A difference with one digit."""
    return NOTHING if value is None else f"{value:+.1f}"


def rate(value: float | None) -> str:
    """A share, 0 to 1, in percent."""
    return NOTHING if value is None else f"{100 * value:.1f} %"


def attack_names(results: Results, *, failures: bool) -> list[tuple[str, str]]:
    """Attacks that any detector has, in the order asked for, and their sensors."""
    found = {}
    for detector in results["detectors"]:
        for name, entry in detector["attacks"].items():
            if is_failure(entry) == failures:
                found[name] = ", ".join(entry["touched"])
    return [(name, found[name]) for name in results["threats"] if name in found]
