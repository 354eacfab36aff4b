"""Whom the gates in a report blame, and how often they are in doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perception.evaluation.robustness.blame import CLEAN_ROW, gate_confusion
from perception.visualization.report.values import Measured
from perception.visualization.style import IN_DOUBT, NOBODY


@dataclass(frozen=True)
class Confusion:
    """Whom a gate blames.

    Attributes:
        names: Whom it can blame; ``"in doubt"`` before ``"none"`` if it can doubt.
        rows: For each sensor that truly lies the number of frames per blamed name. A
            frame in doubt counts as that alone, not as one of ``"none"``.
    """

    names: tuple[str, ...]
    rows: Mapping[str, Mapping[str, int]]

    @property
    def doubts(self) -> bool:
        """Whether the gate can be in doubt."""
        return IN_DOUBT in self.names

    def heading(self, name: str) -> str:
        """What a column is about."""
        if not self.doubts or name not in (IN_DOUBT, NOBODY):
            return f"blamed {name}"
        return name if name == IN_DOUBT else "trusted all"

    def half_right(self, row: str, name: str) -> bool:
        """Whether it is told that a sensor lies, as one does, but not which."""
        return name == IN_DOUBT and row != CLEAN_ROW

    def share(self, row: str, name: str) -> float:
        """Part of a row's frames, 0 … 1."""
        total = sum(self.rows[row].values())
        return self.rows[row].get(name, 0) / total if total else 0.0

    def right(self, row: str, name: str) -> bool:
        """Whether blaming ``name`` is right in this row."""
        return name == (NOBODY if row == CLEAN_ROW else row)


def confusion(detector: Measured) -> Confusion | None:
    """Over all attacks on one sensor, failures left out; None without a gate."""
    found = gate_confusion(detector.entries, list(detector.sensors))
    if found is None:
        return None
    return _split(found["names"], found["rows"], found.get("in_doubt"))


def _split(
    names: Sequence[str],
    rows: Mapping[str, Mapping[str, int]],
    doubts: Mapping[str, int] | None,
) -> Confusion:
    """Frames of ``"none"`` that are in doubt become a column of their own.

    Raises:
        ValueError: If more are in doubt than nobody is blamed in.
    """
    if doubts is None:
        return Confusion(tuple(names), rows)
    split = {}
    for row, cells in rows.items():
        if not 0 <= doubts[row] <= cells[NOBODY]:
            raise ValueError(
                f"gate, {row}: {doubts[row]} frames in doubt of {cells[NOBODY]} "
                f"that blame {NOBODY!r}"
            )
        told = {IN_DOUBT: doubts[row], NOBODY: cells[NOBODY] - doubts[row]}
        split[row] = {**cells, **told}
    own = [name for name in names if name != NOBODY]
    return Confusion((*own, IN_DOUBT, NOBODY), split)
