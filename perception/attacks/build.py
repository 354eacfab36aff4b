"""From the names and dicts of a config to attacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perception.attacks.base import Attack
from perception.attacks.goals import Goal
from perception.attacks.registry import ATTACKS, THREATS, class_of
from perception.attacks.threats.base import ThreatModel


def build_threat(name: str, config: Mapping[str, Any]) -> ThreatModel:
    """A threat model from a dict with ``type`` and its fields.

    ``parts`` of a joint threat are dicts of the same kind.

    Raises:
        ValueError: If a field is unknown or impossible; names the threat.
    """
    fields = dict(config)
    threat_class = class_of(fields.pop("type", None), THREATS, f"threat {name!r}")
    try:
        if "parts" in fields:
            parts = enumerate(fields["parts"])
            fields["parts"] = tuple(build_threat(f"{name}[{i}]", p) for i, p in parts)
        if isinstance(fields.get("goal"), str):
            fields["goal"] = Goal.parse(fields["goal"])
        threat: ThreatModel = threat_class(name=name, **fields)
    except TypeError as error:
        raise ValueError(f"threat {name!r}: {error}") from error
    return threat


def build_attack(name: str, config: Mapping[str, Any], **changes: Any) -> Attack:
    """An attack from a dict ``{type, threat: {type, …}, …}``.

    Args:
        name: The threat model's name.
        config: As in ``configs/_base_/attacks``.
        **changes: Fields of the threat model that replace the config's, e.g. ``eps``.

    Raises:
        ValueError: If a field is unknown or impossible; names the attack.
    """
    fields = dict(config)
    threat = build_threat(name, dict(fields.pop("threat", {})) | changes)
    return search_for(threat, fields)


def search_for(threat: ThreatModel, config: Mapping[str, Any]) -> Attack:
    """The attack of a config without ``threat``, on this threat model.

    Raises:
        ValueError: If the type or a field is unknown; names the threat.
    """
    fields, name = dict(config), f"attack {threat.name!r}"
    attack_class = class_of(fields.pop("type", None), ATTACKS, name)
    try:
        attack: Attack = attack_class(threat, **fields)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error
    return attack
