"""What every layout needs to make a set: checked arguments, workers for its parts."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from perception.core.files import read_bytes, read_json, write_bytes
from perception.core.parallel import Bar, run_jobs
from perception.core.shards import Shard, shares
from perception.core.structures import DataError

MIN_SIZE = (96, 32)
RECIPE = "synthetic.json"


def parse_size(text: str) -> tuple[int, int]:
    """Width and height in pixels of a text like ``640x192``.

    Raises:
        DataError: If it is malformed or too small to show anything.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.strip())
    if match is None:
        raise DataError(f"--size must be WIDTHxHEIGHT, e.g. 640x192, got {text!r}")
    width, height = int(match[1]), int(match[2])
    if width < MIN_SIZE[0] or height < MIN_SIZE[1]:
        raise DataError(
            f"--size must be at least {MIN_SIZE[0]}x{MIN_SIZE[1]}, got {text!r}"
        )
    return width, height


def check_at_least(low: int, **given: int) -> None:
    """Raise DataError if an argument is below ``low``; names it."""
    for name, value in given.items():
        if value < low:
            raise DataError(f"{name} must be at least {low}, got {value}")


def make_missing(
    make: Callable[[str], None],
    names: Sequence[str],
    complete: Callable[[str], bool],
    *,
    root: Path,
    shard: Shard | None,
    jobs: int,
    unit: str,
    progress: bool,
) -> None:
    """Make those of a set's ``names`` that are missing, always in worker processes.

    Args:
        make: Makes a name's ``unit``, a frame or a scene; it can be pickled.
        names: Of the whole set.
        complete: Whether one is there.
        root: The set's folder, in which a dead shard is found.
        shard: Only this share, and those of the dead; None: all.
        jobs: Worker processes.
        unit: For the progress bar.
        progress: Whether to show one.
    """
    for share in shares(root, shard):
        own = [name for number, name in enumerate(names) if share.takes(number)]
        missing = [name for name in own if not complete(name)]
        bar = Bar("synthetic scenes", unit, before=len(own) - len(missing))
        shown = bar if progress else None
        run_jobs(make, missing, jobs=jobs, always_spawn=True, bar=shown)


def take_parts(
    root: Path,
    folders: Iterable[str | os.PathLike],
    files: Callable[[Path, Path], Iterable[Path]],
) -> None:
    """Copy what other machines made of a set.

    Args:
        root: The set's folder.
        folders: Other machines'.
        files: Which files, relative to the folder, to take from one for another.

    Raises:
        DataError: If one is of another set.
    """
    wanted = read_json(root / RECIPE)
    for folder in map(Path, folders):
        if (found := read_json(folder / RECIPE, what="how it was made")) != wanted:
            raise DataError(f"--merge {folder}: was made with {found}, not {wanted}")
        for path in files(folder, root):
            write_bytes(root / path, read_bytes(folder / path))
