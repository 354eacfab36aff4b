"""Alarms for other programs: JSON lines, and diagnostics in a ROS bag.

Each frame is a line of JSON, on disk before the next one is looked at:

    {"frame": "000017", "time_ns": 1700000001700000000, "alarm": "lidar", "score": 4.2,
     "trust": {"camera": 0.98, "lidar": 0.02, "depth": 0.97}, "missing": [],
     "stale": [], "gate_alarm": 0.7}

and a ``diagnostic_msgs/DiagnosticArray`` on ``/diagnostics`` with a status per sensor:
``ERROR`` if the alarm is about it, ``STALE`` if it delivered nothing, or what it had
delivered before, ``WARN`` if the gate knows that some sensor is compromised but not
which.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from perception.core.structures import DataError
from perception.datasets.bags.compose import diagnostics
from perception.datasets.bags.storage import BagWriter, Storage
from perception.models.consensus.monitor import SensorState

TOPIC = "/diagnostics"
OK, WARN, ERROR, STALE = range(4)
Status = tuple[int, str, str, Mapping[str, Any]]


def line_of(
    frame_id: str,
    time_ns: int | None,
    state: SensorState,
    missing: Sequence[str],
    gate_alarm: float | None,
) -> str:
    """A frame's line of JSON; an infinite score, of a missing sensor, is null."""
    score = state.score if math.isfinite(state.score) else None
    values = {
        "frame": frame_id,
        "time_ns": time_ns,
        "alarm": state.alarm,
        "score": score,
        "trust": dict(state.trust),
        "missing": list(missing),
        "stale": list(state.stale),
        "gate_alarm": gate_alarm,
    }
    return json.dumps(values)


def statuses_of(
    state: SensorState, missing: Sequence[str], unattributed: bool
) -> list[Status]:
    """For each sensor (level, name, message, values) of a ``DiagnosticStatus``."""
    found: list[Status] = []
    for name, trust in state.trust.items():
        level, message = OK, "trusted"
        if name in missing:
            level, message = STALE, "no data"
        elif name in state.stale:
            level, message = STALE, "shows or lately showed an old reading"
        elif state.alarm == name:
            level, message = ERROR, "contradicts the other sensors"
        elif unattributed:
            level, message = WARN, "some sensor is compromised, it is not known which"
        values = {"trust": f"{trust:.4f}", "score": f"{state.score:.4f}"}
        found.append((level, f"sensor trust: {name}", message, values))
    return found


def tell(
    moments: Iterable[Any], lines: str | os.PathLike, bag: str | os.PathLike | None
) -> Iterator[Any]:
    """The moments of a recording, each told before the next one is asked for.

    Args:
        moments: See ``perception.evaluation.recording.Moment``.
        lines: The file of JSON lines; what was there is replaced.
        bag: The bag to write: a folder of ROS 2 (MCAP), or a ``.bag`` of ROS 1.

    Raises:
        DataError: If a file cannot be written, or a bag's frames have no times.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(lines).open("w", encoding="utf-8"))
        except OSError as error:
            raise DataError(f"{lines}: cannot write: {error.strerror}") from error
        opened = None
        if bag is not None:
            storage: Storage = "ros1" if Path(bag).suffix == ".bag" else "mcap"
            opened = stack.enter_context(BagWriter(bag, storage))
        for one in moments:
            told = line_of(one.frame_id, one.time_ns, one.state, one.missing, one.alarm)
            file.write(told + "\n")
            file.flush()
            if opened is not None:
                if one.time_ns is None:
                    raise DataError(
                        f"frame {one.frame_id}: no time, which diagnostics need; "
                        "frames of create_data.py bag and sequences have one"
                    )
                states = statuses_of(one.state, one.missing, one.has_alarm)
                message = diagnostics(opened, one.time_ns, states)
                opened.write(TOPIC, message, one.time_ns)
            yield one
