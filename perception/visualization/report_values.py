"""What a report page shows, as values: detectors, attacks on them and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perception.structures import SensorSpec

Number = float | None


@dataclass(frozen=True)
class Figures:
    """Mean AP and what it is made of, in percent; None where nothing was to find.

    Attributes:
        mean: Mean AP at this task's overlaps.
        kitti: Mean AP at KITTI's own overlaps.
        classes: AP of each class at the headline difficulty.
    """

    mean: Number
    kitti: Number
    classes: Mapping[str, Number]


@dataclass(frozen=True)
class Attacked:
    """One threat model against one detector.

    Attributes:
        name: The threat model's name.
        touched: Sensors that it may change.
        described: Search and threat model in full, as plain values.
        clean: Figures without it.
        attacked: Figures under it.
        success: ``rate``, ``found_clean``, ``lost``, ``false_new``; may be empty.
        gate: Whom the gate blames how often, ``{"clean" | "attacked": {name: count}}``;
            empty for a detector without a gate.
        doubts: How many of the frames that it blames on nobody are in doubt, ``{"clean"
            | "attacked": count}``; empty for a gate that does not know doubt.
        seconds: Time per frame.
    """

    name: str
    touched: tuple[str, ...]
    described: Mapping[str, Any]
    clean: Figures
    attacked: Figures
    success: Mapping[str, Number] = field(default_factory=dict)
    gate: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    doubts: Mapping[str, int] = field(default_factory=dict)
    seconds: Number = None

    @property
    def threat(self) -> Mapping[str, Any]:
        """The threat model, as plain values."""
        return self.described.get("threat", {})

    @property
    def failure(self) -> bool:
        """Whether a sensor fails without anybody searching for the worst."""
        return "severity" in self.threat

    @property
    def drop(self) -> Number:
        """Points of mean AP that were lost."""
        return difference(self.clean.mean, self.attacked.mean)


@dataclass(frozen=True)
class Measured:
    """One detector with everything that was measured on it.

    Attributes:
        name: Unique on the page.
        made_with: ``config``, ``checkpoint`` and their SHA-256.
        run: ``command``, ``data``, ``split``, ``seeds`` … for people who repeat it.
        frame_ids: The frames.
        sensors: The detector's sensors, in the order of its gate.
        clean: Figures without any attack.
        attacks: By name, failures included.
        extra: Entries that only ``tools/robustness.py`` writes.
        baseline: Name of the detector that differences are taken to.
        groups: Same configs with several seeds, as ``tools/robustness.py`` writes.
    """

    name: str
    made_with: Mapping[str, str]
    run: Mapping[str, str]
    frame_ids: tuple[str, ...]
    sensors: Mapping[str, SensorSpec]
    clean: Figures
    attacks: Mapping[str, Attacked]
    extra: Mapping[str, Any] = field(default_factory=dict)
    baseline: str = ""
    groups: tuple[Mapping[str, Any], ...] = ()


def difference(before: Number, after: Number) -> Number:
    """``before - after``, None where either is."""
    return None if before is None or after is None else before - after


def number(value: Any) -> Number:
    """A finite number as float; None for nothing and for NaN.

    Raises:
        TypeError: If it is something else.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, got {value!r}")
    return float(value) if math.isfinite(value) else None
