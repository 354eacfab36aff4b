"""Registered names: what a config may call ``type``."""

from __future__ import annotations

from typing import Any

from mmengine.registry import Registry

THREATS = Registry("threat")
ATTACKS = Registry("attack")
OBJECTIVES = Registry("objective")
PLACEMENTS = Registry("placement")


def class_of(kind: Any, registry: Registry, what: str) -> Any:
    """The class registered under exactly this name.

    A name may come from a file that somebody else wrote, and ``Registry.get`` would
    import whatever a dotted one leads to.

    Raises:
        ValueError: If no class is; says of ``what``, and which there are.
    """
    known = registry.module_dict
    if not isinstance(kind, str) or kind not in known:
        raise ValueError(f"{what}: unknown type {kind!r}; there are {', '.join(known)}")
    return known[kind]
