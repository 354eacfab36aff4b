"""One program at a time in a folder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perception.core.structures import DataError

# So long may the processes of a killed program take to be gone.
_PATIENCE_S = 2.0


@contextmanager
def sole_user(folder: str | os.PathLike, what: str) -> Iterator[None]:
    """Hold a folder for this process; the system lets go of it when the process ends.

    Args:
        folder: Made if need be; its ``.lock`` stays behind and says nothing by itself.
        what: What this process does there, for the other one's error.

    Raises:
        DataError: If another process holds it, or the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Never through a link that somebody else put there.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        number = os.open(folder / ".lock", flags, 0o644)
    except OSError as error:
        raise DataError(f"{folder}: cannot write: {error.strerror or error}") from error
    try:
        if not _locked(number):
            raise DataError(
                f"{folder}: another program is at work there ({what}); wait for it, or "
                "choose another folder"
            )
        yield
    finally:
        os.close(number)


def _locked(number: int) -> bool:
    """Lock a file, if it is free or soon will be."""
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
