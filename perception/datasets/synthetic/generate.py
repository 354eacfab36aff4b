"""What every layout needs to make a set: checked arguments, workers for its parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from perception.core.parallel import Bar, run_jobs
from perception.core.structures import DataError

MIN_SIZE = (96, 32)


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
    *,
    total: int,
    jobs: int,
    unit: str,
    progress: bool,
) -> None:
    """Make the missing ``names`` of a set of ``total``, always in worker processes.

    ``make`` makes a name's ``unit``, a frame or a scene; it can be pickled.
    """
    bar = Bar("synthetic scenes", unit, before=total - len(names))
    run_jobs(make, names, jobs=jobs, always_spawn=True, bar=bar if progress else None)
