"""Which of a reader's sources make up the sensors of its frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

Source = TypeVar("Source")


def pick_sources(
    source_class: type[Source],
    sources: Mapping[str, Source | Mapping],
    sensors: Sequence[str] | None,
    optional_sensors: Sequence[str],
) -> dict[str, Source]:
    """The sources of the wanted sensors, in their order, dicts made into sources.

    Args:
        source_class: What a dict's entries are the arguments of.
        sources: For each sensor its source.
        sensors: The wanted ones; None takes all.
        optional_sensors: Sensors that a frame may lack.

    Raises:
        ValueError: If a sensor has no source.
    """
    wanted = list(sources if sensors is None else sensors)
    if unknown := [n for n in [*wanted, *optional_sensors] if n not in sources]:
        raise ValueError(f"sensors {unknown} have no source; known: {list(sources)}")
    picked = {name: sources[name] for name in wanted}
    return {
        name: source
        if isinstance(source, source_class)
        else source_class(**cast(Mapping, source))
        for name, source in picked.items()
    }
