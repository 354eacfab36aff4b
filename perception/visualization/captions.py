"""What a picture says of an attack in words: its budget with units, its search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from perception.core.structures import SensorSpec

if TYPE_CHECKING:
    # For start-up time: pictures alone must not load PyTorch and MMDetection.
    from perception.attacks.base import Perturbation

Facts = tuple[tuple[str, str], ...]

_TOLD_ELSEWHERE = {
    *("type", "name", "sensor", "goal", "steps", "restarts", "seed"),
    *("norm", "eps", "disparity", "parts"),
}


def attack_facts(attack: Perturbation, sensors: Mapping[str, SensorSpec]) -> Facts:
    """What the attacker may do and how he searches, as (name, value) pairs."""
    threat = getattr(attack, "threat", None)
    if threat is None:  # a corruption: nobody searches
        return (("failure", budget_text(attack, sensors)),)
    search = f"{type(attack).__name__}, {threat.steps} steps"
    if threat.restarts > 1:
        search += f" × {threat.restarts} restarts"
    return (
        ("budget", budget_text(threat, sensors)),
        ("search", f"{search}, goal {threat.goal}"),
    )


def budget_text(threat: Any, sensors: Mapping[str, SensorSpec]) -> str:
    """A threat model's budget with its unit, e.g. ``L∞ ε = 16 grey levels``."""
    return budget_of(_described(threat), sensors)


def _described(threat: Any) -> dict[str, Any]:
    """A threat model's fields, as results in JSON have them."""
    values = {field.name: getattr(threat, field.name) for field in fields(threat)}
    if is_dataclass(placement := values.get("placement")):
        values["placement"] = asdict(placement)  # type: ignore[arg-type]
    parts = [_described(part) for part in values.get("parts", ())]
    return {
        "type": type(threat).__name__,
        **values,
        **({"parts": parts} if parts else {}),
    }


def budget_of(threat: Mapping[str, Any], sensors: Mapping[str, SensorSpec]) -> str:
    """The same of a threat model as results in JSON describe it."""
    if parts := threat.get("parts"):
        return "; ".join(f"{p['sensor']}: {budget_of(p, sensors)}" for p in parts)
    eps = threat.get("eps")
    spec = sensors.get(threat.get("sensor", ""))
    told = [] if eps is None else [_eps_text(threat, eps, spec)]
    if placement := threat.get("placement"):
        told.append(_patch_text(placement))
    for field, value in threat.items():
        if field in _TOLD_ELSEWHERE or not isinstance(value, int | float | str):
            continue
        name, unit = _name_and_unit(field)
        if value is True:
            told.append(name)
        elif value is not False:
            told.append(f"{name} {_number(value)}{unit}")
    return ", ".join(told) or str(threat.get("type", ""))


def _eps_text(threat: Mapping[str, Any], eps: Any, spec: SensorSpec | None) -> str:
    channels = () if spec is None else spec.channels
    norm = threat.get("norm", "")
    norm = {"linf": "L∞", "l2": "L2"}.get(norm, norm)
    if threat.get("disparity"):
        amount = f"{_number(eps)} px of disparity"
    elif isinstance(eps, Mapping):
        units = {channel.name: channel.unit for channel in channels}
        amount = ", ".join(
            f"{_number(value)}{_spaced(units.get(name, ''))} {_name_and_unit(name)[0]}"
            for name, value in eps.items()
        )
    else:
        kinds = dict.fromkeys(channel.unit for channel in channels)
        amount = _number(eps) + _spaced(" / ".join(kinds))
    return f"{norm} ε = {amount}".strip()


def _patch_text(placement: Mapping[str, Any]) -> str:
    """``patch of 1.6 x 1.4 m on face``."""
    if "size_m" in placement:
        (width, height), unit = placement["size_m"], " m"
    else:
        (width, height), unit = placement["size"], " px"
        if placement.get("unit", "fraction") == "fraction":
            unit = " of the picture's sides"
    return f"patch of {_number(width)} x {_number(height)}{unit} on {placement['on']}"


def _name_and_unit(name: str) -> tuple[str, str]:
    """``radius_m`` is "radius" in " m"."""
    for ending, unit in (("_m", " m"), ("_px", " px"), ("_deg", "°")):
        if name.endswith(ending):
            return name.removesuffix(ending).replace("_", " "), unit
    return name.replace("_", " "), ""


def _spaced(unit: str) -> str:
    return f" {unit}" if unit not in ("", "1") else ""


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
