"""Work divided among machines: which share is whose, and who is at work in a folder.

Work is a list of units whose results depend on nothing but the unit; a shard is every
n-th of them. So shards are disjoint, all together are everything, and results are the
same whatever n, and whoever did a unit, even if two did.

A shard holds ``DIR/.shards/2-of-3``, which the system lets go of when it dies: the
folder stays and is free, and by that another one knows whose work to take over. The
file system's locks have to hold between machines (NFS, Lustre with ``flock``); where
they do not, work may be done twice, by which no result changes.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from perception.core.locks import sole_user
from perception.core.structures import DataError

_FOLDER = ".shards"


@dataclass(frozen=True)
class Shard:
    """A share of the work.

    Attributes:
        index: Which one, from 0.
        count: How many there are.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise DataError(
                f"a shard is one of 1/{self.count} … {self.count}/{self.count}, got "
                f"{self}"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``2/3`` is the second of three.

        Raises:
            DataError: If it is not of this form.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if match is None or int(match[2]) == 0:
            raise DataError(f"a shard is i/n, such as 1/4 … 4/4, got {text!r}")
        return cls(int(match[1]) - 1, int(match[2]))

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.count}"

    @property
    def name(self) -> str:
        """As part of a file's name: ``2-of-3``."""
        return f"{self.index + 1}-of-{self.count}"

    def takes(self, unit: int) -> bool:
        """Whether the unit of this number is part of it."""
        return unit % self.count == self.index

    def frames(self, count: int, batch_size: int, *, turn: int = 0) -> list[range]:
        """Numbers of its frames in blocks of ``batch_size``; the last may have fewer.

        A block is computed as one batch, on which last bits may depend.

        Args:
            count: How many frames there are.
            batch_size: Frames of a block.
            turn: Number of this list of frames among several: what has a single block
                is done by another shard each time.
        """
        starts = range(0, count, batch_size)
        return [
            range(start, min(start + batch_size, count))
            for block, start in enumerate(starts)
            if self.takes(block + turn)
        ]

    def missing(
        self,
        frame_ids: Sequence[str],
        batch_size: int,
        done: Collection[str],
        *,
        turn: int = 0,
    ) -> tuple[int, list[int]]:
        """How many frames it has; all numbers of its blocks that are not quite done.

        Whatever was done before, a batch is the same as if nothing had been.
        """
        blocks = self.frames(len(frame_ids), batch_size, turn=turn)
        open_blocks = (b for b in blocks if any(frame_ids[i] not in done for i in b))
        return sum(map(len, blocks)), [i for block in open_blocks for i in block]


WHOLE = Shard()


def torchrun_shard() -> Shard:
    """The share of this rank of torchrun; the whole without it."""
    count = int(os.environ.get("WORLD_SIZE", 1))
    return Shard(int(os.environ.get("RANK", 0)), count)


@contextmanager
def at_work(
    folder: str | os.PathLike, what: str, shard: Shard | None = None
) -> Iterator[None]:
    """Hold a folder for the whole work, or a shard's part of it, for this process.

    Torchrun's first rank holds it for all ranks.

    Args:
        folder: Of the results.
        what: What this process does there, for others' errors.
        shard: Which shard; None or all of them: the whole.

    Raises:
        DataError: If another process is at this shard, or one at the whole; for the
            whole, if any is at work there.
    """
    with ExitStack() as mine:
        if shard is not None and shard != WHOLE:
            with sole_user(folder, what):  # nobody is at the whole
                own = Path(folder) / _FOLDER / shard.name
                mine.callback(_remove, own)
                mine.enter_context(sole_user(own, f"shard {shard} of {what}"))
        elif torchrun_shard().index == 0:
            mine.enter_context(sole_user(folder, what))
            for other in sorted((Path(folder) / _FOLDER).glob("*-of-*")):
                with sole_user(other, f"{what}, a shard"):
                    pass
                _remove(other)
        yield


def shares(folder: str | os.PathLike, shard: Shard | None) -> Iterator[Shard]:
    """What to do one after the other: one's own share, then those of the dead.

    Args:
        folder: As :func:`at_work` holds it.
        shard: None: the whole.
    """
    if shard is None:
        yield WHOLE
        return
    yield shard
    for dead in _left_behind(folder):
        print(f"shard {dead} died: {shard} takes it over", file=sys.stderr)
        yield dead


def _left_behind(folder: str | os.PathLike) -> Iterator[Shard]:
    """Shards that began in a folder and died, each held while it is taken over."""
    for place in sorted((Path(folder) / _FOLDER).glob("*-of-*")):
        with ExitStack() as held:
            try:
                shard = Shard.parse(place.name.replace("-of-", "/"))
                held.enter_context(sole_user(place, f"shard {shard}, taken over"))
            except DataError:  # it is alive
                continue
            yield shard
        _remove(place)


def _remove(place: Path) -> None:
    """Remove a shard's folder, and that of all if it was the last."""
    for folder in (place, place.parent):
        with suppress(OSError):  # gone, or of use to others
            folder.rmdir()
