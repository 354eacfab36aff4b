"""The parts of a fusion system that predict, as values.

Fusion systems that bound what one sensor can do compare several predictions: what
each sensor says by itself, and what leave-one-out experts say.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LeaveOut:
    """The sensor that a fusion is told to leave out, whatever its gate says.

    Attributes:
        sensor: Its name; None tells the fusion that all sensors are benign.
    """

    sensor: str | None


@dataclass(frozen=True)
class BranchPrediction:
    """What one sensor says by itself."""

    sensor: str


@dataclass(frozen=True)
class ExpertPrediction:
    """What all sensors but one say together; None leaves none out."""

    left_out: str | None


Part = BranchPrediction | ExpertPrediction
