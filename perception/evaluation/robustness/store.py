"""Records of attacked frames on disk, so that a killed run goes on where it was.

A folder holds ``settings.json``, everything that determines the results,
``frames.jsonl``, one line per frame, appended batch by batch, and
``environments.json``, a list of what attacked them. A shard writes files of its own
instead, ``frames.2-of-3.jsonl`` and ``environments.2-of-3.json``, so that several can
work in one folder; readers take all of them together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from perception.core.files import read_bytes, read_json, write_bytes, write_json
from perception.core.provenance import UNKNOWN, Environment, distinct
from perception.core.schema import read_as
from perception.core.shards import WHOLE, Shard
from perception.core.structures import DataError
from perception.evaluation.robustness.records import FrameRecord, Measured

Value = TypeVar("Value")


class LineStore:
    """One JSON object per frame, which has its ``frame_id``.

    Args:
        folder: Where they lie; made if need be.
        settings: Plain values that determine the results.
        resume: Go on with what is there; otherwise the folder must hold no records.
        writer: The shard whose files new records go to; :data:`WHOLE`: those of all.

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
        writer: Shard = WHOLE,
    ) -> None:
        self.folder, self.writer = Path(folder), writer
        own = "" if writer == WHOLE else f".{writer.name}"
        self._lines = self.folder / f"frames{own}.jsonl"
        self._environments = self.folder / f"environments{own}.json"
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
        self._settings = settings

    def frame_ids(self) -> set[str]:
        """Of the frames that are there, without keeping more of them."""
        return set(self.lines(_frame_id))

    def lines(self, parse: Callable[[Any], Value]) -> Iterator[Value]:
        """What ``parse`` makes of each line of every file, one at a time.

        A line cut short by a kill is left out, and taken away from the store's own
        file; another's may be just being written.
        """
        for path in self._files("frames", ".jsonl"):
            for _, value in self._parsed(path, parse):
                yield value

    def _files(self, what: str, suffix: str) -> list[Path]:
        """That of the whole, then those of shards."""
        whole = self.folder / f"{what}{suffix}"
        shards = sorted(self.folder.glob(f"{what}.*-of-*{suffix}"))
        return [path for path in (whole, *shards) if path.exists()]

    def _parsed(
        self, path: Path, parse: Callable[[Any], Value]
    ) -> Iterator[tuple[bytes, Value]]:
        if not path.is_file():
            raise DataError(f"{path}: not a regular file")
        own = path == self._lines
        with path.open("r+b" if own else "rb") as file:
            begin = 0
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    if own:
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
                        f"{path}, line {number}: not a record of an attacked "
                        f"frame ({error})"
                    ) from error
                yield line, value

    def append_lines(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Add the records of one batch; they are on disk when this returns."""
        text = "".join(json.dumps(record) + "\n" for record in records)
        try:
            with self._lines.open("ab") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DataError(f"{self._lines}: cannot write: {error.strerror}") from error

    def environments(self) -> tuple[Environment, ...]:
        """All that made the records; ``UNKNOWN`` where that is not noted."""
        lines = self._files("frames", ".jsonl")
        if not any(path.stat().st_size for path in lines):
            return ()
        files = self._files("environments", ".json")
        if not files:
            return (UNKNOWN,)
        kind = tuple[Environment, ...]
        found = (read_as(kind, one, what="list of environments") for one in files)
        return distinct(environment for one in found for environment in one)

    def check(self, now: Environment, frame_ids: Iterable[str]) -> None:
        """Whether ``now`` may make those of the records that are not yet there.

        Raises:
            DataError: If there are any, and those that are there were made on
                another kind of device or with another PyTorch.
        """
        if not self.frame_ids() >= set(frame_ids):
            self._with(now)

    def begin(self, now: Environment) -> None:
        """Note what makes the records that come.

        Raises:
            DataError: See :meth:`check`.
        """
        write_json(self._environments, [asdict(one) for one in self._with(now)])

    def _with(self, now: Environment) -> tuple[Environment, ...]:
        """All that made the records, and ``now``, which has to go with them."""
        earlier = self.environments()
        if others := [one for one in earlier if not one.mixable(now)]:
            raise DataError(
                f"{self.folder}: its frames were attacked on {others[0]}, and "
                f"the remaining ones would be on {now}; go on there, or choose "
                "another --out"
            )
        return distinct([*earlier, now])

    def take(self, folder: str | os.PathLike) -> int:
        """Add what another machine's folder of the same settings has; how many frames.

        Raises:
            DataError: If it holds records of other settings or another kind of device.
        """
        if not (Path(folder) / "settings.json").is_file():
            return 0
        other = LineStore(folder, self._settings, resume=True, writer=_NOBODY)
        for environment in other.environments():
            self.begin(environment)
        have = self.frame_ids()
        new = {
            frame_id: json.loads(line)
            for path in other._files("frames", ".jsonl")
            for line, frame_id in other._parsed(path, _frame_id)
            if frame_id not in have
        }
        if new:
            self.append_lines(new.values())
        return len(new)

    def unite(self, frame_ids: Sequence[str]) -> None:
        """Put all records into the file of the whole, once each, in this order.

        Records of other frames stay behind them. Nobody else may be at work here.
        """
        files = [
            *self._files("frames", ".jsonl"),
            *self._files("environments", ".json"),
        ]
        own = {self._lines, self._environments}
        found: dict[str, bytes] = {}
        for path in self._files("frames", ".jsonl"):
            for line, frame_id in self._parsed(path, _frame_id):
                found.setdefault(frame_id, line)
        order = [one for one in dict.fromkeys([*frame_ids, *found]) if one in found]
        if own.issuperset(files) and order == list(found):
            return
        environments = self.environments()
        write_bytes(self._lines, b"".join(found[one] for one in order))
        if environments != (UNKNOWN,):
            write_json(self._environments, [asdict(one) for one in environments])
        for path in set(files) - own:
            path.unlink()


_NOBODY = Shard(0, 10**6)  # writes nothing


class FrameStore(LineStore):
    """The records of one attack on one detector."""

    def read(self) -> dict[str, FrameRecord]:
        """All records by frame id."""
        return {one.frame_id: one for one in self.lines(FrameRecord.from_json)}

    def append(self, records: Sequence[FrameRecord]) -> None:
        """Add the records of one batch; they are on disk when this returns."""
        self.append_lines(record.to_json() for record in records)

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


def take_folder(
    stores: Sequence[LineStore], out: Path, folder: Path, *, with_data: bool = False
) -> None:
    """Add another machine's records, and saved frames, to those below ``out``.

    Raises:
        DataError: If there are none, or some of other settings.
    """
    found, there = 0, False
    for store in stores:
        other = folder / store.folder.relative_to(out)
        there |= other.is_dir()
        found += store.take(other)
        for path in sorted((other / "data").rglob("*.*")) if with_data else ():
            if path.is_file() and not path.name.startswith("."):
                write_bytes(store.folder / path.relative_to(other), read_bytes(path))
    if not there:
        raise DataError(f"--merge {folder}: holds nothing of what this command makes")
    tqdm.write(f"{folder}: {found} records that were not here")


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
