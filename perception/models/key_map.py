"""Names of weights as earlier versions saved them, and what they are called now."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

from torch import nn

_FORMER = (
    ("fusion.fused.", "fusion."),
    ("fusion.mean", "aggregator.gate.mean"),
    ("fusion.deviation", "aggregator.gate.deviation"),
    ("fusion.steps", "aggregator.gate.steps"),
    ("view_head.", "branch_head."),
)


def current_name(name: str, sensors: Sequence[str], *, projected: bool) -> str:
    """What a weight of a detector is called now.

    Args:
        name: Of an earlier version or of this one.
        sensors: Names of the detector's sensors.
        projected: Whether ``fusion.align`` projects features for the branch
            predictions, as it did in fusions that combined them; else it is the gate's.
    """
    for number, sensor in enumerate(sensors if projected else ()):
        former = f"fusion.align.{number}."
        if name.startswith(former):
            return f"branch_projections.{sensor}.{name.removeprefix(former)}"
    for former, current in _FORMER:
        if name.startswith(former):
            return current + name.removeprefix(former)
    return name


def rename_former_weights(
    module: nn.Module, state_dict: MutableMapping[str, Any], prefix: str, *_: Any
) -> None:
    """Hook of a detector: what it loads gets the names of this version, in place."""
    names = [name for name in state_dict if name.startswith(prefix)]
    fusion = [name for name in names if name.startswith(f"{prefix}fusion.")]
    projected = any(name.startswith(f"{prefix}fusion.align.") for name in fusion)
    projected &= not any(name.startswith(f"{prefix}fusion.experts.") for name in fusion)
    sensors = list(module.branches)  # type: ignore[arg-type]
    values = {name: state_dict.pop(name) for name in names}
    for name, value in values.items():
        own = name.removeprefix(prefix)
        state_dict[prefix + current_name(own, sensors, projected=projected)] = value
