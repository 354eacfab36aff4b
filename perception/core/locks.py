"""One program at a time in a folder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from perception.core.structures import DataError

# So long may the processes of a killed program take to be gone.
_PATIENCE_S = 2.0


@contextmanager
def sole_user(folder: str | os.PathLike, what: str) -> Iterator[None]:
    """Hold a folder for this process; the system lets go of it when the process ends.

    Args:
        folder: Made if need be, then removed if nothing has been put there.
        what: What this process does there, for the other one's error.

    Raises:
        DataError: If another process holds it, or the folder cannot be written.
    """
    lock = Path(folder) / ".lock"
    was_there = lock.parent.is_dir()
    number = _locked(lock)
    if number is None:
        raise DataError(
            f"{folder}: another program is at work there ({what}); wait for it, or "
            "choose another folder"
        )
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
        os.close(number)
        if not was_there:
            with suppress(OSError):  # something has been put there
                lock.parent.rmdir()


def _locked(lock: Path) -> int | None:
    """Create and lock a file; None if another process holds it and goes on doing so."""
    end = time.monotonic() + _PATIENCE_S
    # Never through a link that somebody else put there.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            number = os.open(lock, flags, 0o644)
        except FileNotFoundError:  # its last user has just removed the folder
            continue
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"{lock.parent}: cannot write: {reason}") from error
        with suppress(OSError):
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(number).st_nlink:  # else its last user has just removed it
                return number
        os.close(number)
        if time.monotonic() > end:
            return None
        time.sleep(0.05)
