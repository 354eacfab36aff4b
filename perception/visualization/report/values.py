"""What a report page shows, as values: detectors, attacks on them and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from perception.core.structures import SensorSpec

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
        entry: What the file says of it, without the frames.
        clean: Figures without it.
        attacked: Figures under it.
        success: ``rate``, ``found_clean``, ``lost``, ``false_new``; may be empty.
        failure: Whether a sensor fails without anybody searching for the worst.
        in_vain: Whether it hardly raises the loss that it climbs.
        made_on: Devices and versions that attacked; empty if the file does not tell.
        seconds: Time per frame.
    """

    name: str
    touched: tuple[str, ...]
    entry: Mapping[str, Any]
    clean: Figures
    attacked: Figures
    success: Mapping[str, Number] = field(default_factory=dict)
    failure: bool = False
    in_vain: bool = False
    made_on: tuple[str, ...] = ()
    seconds: Number = None

    @property
    def described(self) -> Mapping[str, Any]:
        """Search and threat model in full, as plain values."""
        return self.entry["attack"]

    @property
    def threat(self) -> Mapping[str, Any]:
        """The threat model, as plain values."""
        return self.described["threat"]

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
        curves: {attack: points with ``eps_scale`` and ``mAP``}.
        failed: {attack: why it was not measured}.
        audit: Whether it ``passed`` and which checks ``failed``; None without one.
        baseline: Name of the detector that differences are taken to.
        groups: Same configs with several seeds.
    """

    name: str
    made_with: Mapping[str, str]
    run: Mapping[str, str]
    frame_ids: tuple[str, ...]
    sensors: Mapping[str, SensorSpec]
    clean: Figures
    attacks: Mapping[str, Attacked]
    curves: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    audit: Mapping[str, Any] | None = None
    baseline: str = ""
    groups: tuple[Mapping[str, Any], ...] = ()

    @property
    def entries(self) -> dict[str, Mapping[str, Any]]:
        """What the files say of each attack."""
        return {name: attack.entry for name, attack in self.attacks.items()}


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
