"""Records of attacked frames on disk, so that a killed run goes on where it was.

A folder holds ``settings.json``, everything that determines the results,
``frames.jsonl``, one line per frame, appended batch by batch, and
``environments.json``, a list of what attacked them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from perception.core.files import read_json, write_json
from perception.core.provenance import UNKNOWN, Environment, distinct
from perception.core.schema import read_as
from perception.core.structures import DataError
from perception.evaluation.robustness.records import FrameRecord, Measured

Value = TypeVar("Value")


class FrameStore:
    """The records of one attack on one detector.

    Args:
        folder: Where they lie; made if need be.
        settings: Plain values that determine the results.
        resume: Go on with what is there; otherwise the folder must hold no records.

    Raises:
        DataError: If the folder holds records of other settings, or any records
            while ``resume`` is not set.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        settings: Mapping[str, Any],
        *,
        resume: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self._lines = self.folder / "frames.jsonl"
        self._environments = self.folder / "environments.json"
        settings_file = self.folder / "settings.json"
        # As a reader will see them: tuples are lists, keys are text.
        settings = json.loads(json.dumps(settings))
        if settings_file.exists():
            before = read_json(settings_file, what="settings of a run")
            if difference := first_difference(before, settings):
                raise DataError(
                    f"{self.folder}: holds results of other settings: {difference}; "
                    "choose another --out"
                )
            if not resume:
                raise DataError(
                    f"{self.folder}: holds results of this attack already; --resume "
                    "goes on with them, another --out keeps them"
                )
        else:
            write_json(settings_file, settings)

    def read(self) -> dict[str, FrameRecord]:
        """All records by frame id; a line cut short by a kill is taken away."""
        return {one.frame_id: one for one in self._parsed(FrameRecord.from_json)}

    def frame_ids(self) -> set[str]:
        """Of the frames that are there, without keeping more of them."""
        return set(self._parsed(_frame_id))

    def _parsed(self, parse: Callable[[Any], Value]) -> Iterator[Value]:
        """What ``parse`` makes of each line, one at a time."""
        if not self._lines.exists():
            return
        if not self._lines.is_file():
            raise DataError(f"{self._lines}: not a regular file")
        with self._lines.open("r+b") as file:
            begin = 0
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    file.truncate(begin)
                    return
                begin += len(line)
                try:
                    value = parse(json.loads(line))
                except (
                    ValueError,
                    TypeError,
                    KeyError,
                    AttributeError,
                    RecursionError,
                ) as error:
                    raise DataError(
                        f"{self._lines}, line {number}: not a record of an attacked "
                        f"frame ({error})"
                    ) from error
                yield value

    def records(self, frame_ids: Sequence[str]) -> list[FrameRecord]:
        """Those of some frames, in this order; frames not done are left out."""
        found = self.read()
        return [found[name] for name in frame_ids if name in found]

    def measured(
        self,
        frame_ids: Sequence[str],
        *,
        name: str,
        attacked_sensors: tuple[str, ...],
        description: Mapping[str, Any],
    ) -> Measured:
        """What is there of some frames, with what made it."""
        return Measured(
            name=name,
            attacked_sensors=attacked_sensors,
            description=description,
            records=self.records(frame_ids),
            environments=self.environments(),
        )

    def environments(self) -> tuple[Environment, ...]:
        """All that attacked the frames; ``UNKNOWN`` where that is not noted."""
        if not self._lines.exists() or not self._lines.stat().st_size:
            return ()
        if not self._environments.exists():
            return (UNKNOWN,)
        kind = tuple[Environment, ...]
        return read_as(kind, self._environments, what="list of environments")

    def check(self, now: Environment, frame_ids: Iterable[str]) -> None:
        """Whether ``now`` may attack those of the frames that are not yet there.

        Raises:
            DataError: If there are any, and those that are there were attacked on
                another kind of device or with another PyTorch.
        """
        if not self.frame_ids() >= set(frame_ids):
            self._with(now)

    def begin(self, now: Environment) -> None:
        """Note what attacks the frames that come.

        Raises:
            DataError: See :meth:`check`.
        """
        write_json(self._environments, [asdict(one) for one in self._with(now)])

    def _with(self, now: Environment) -> tuple[Environment, ...]:
        """All that attacked the frames, and ``now``, which has to go with them."""
        earlier = self.environments()
        if others := [one for one in earlier if not one.mixable(now)]:
            raise DataError(
                f"{self.folder}: its frames were attacked on {others[0]}, and "
                f"the remaining ones would be on {now}; go on there, or choose "
                "another --out"
            )
        return distinct([*earlier, now])

    def append(self, records: Sequence[FrameRecord]) -> None:
        """Add the records of one batch; they are on disk when this returns."""
        text = "".join(json.dumps(record.to_json()) + "\n" for record in records)
        try:
            with self._lines.open("ab") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DataError(f"{self._lines}: cannot write: {error.strerror}") from error


def first_difference(before: Any, now: Any, where: str = "") -> str | None:
    """Where two plain values differ and how, None if they are equal."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            path = f"{where}.{key}" if where else str(key)
            if key not in before or key not in now:
                return f"{path} is given only {'there' if key in before else 'now'}"
            if difference := first_difference(before[key], now[key], path):
                return difference
        return None
    if before == now:
        return None
    return f"{where} was {_short(before)} and is {_short(now)} now"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:50]} … ({len(text)} characters)"


def _frame_id(record: Any) -> str:
    """The name in a line of the file, without a look at the rest of it."""
    name = record["frame_id"]
    if not isinstance(name, str):
        raise TypeError(f"frame_id: expected a name, got {name!r:.50}")
    return name
