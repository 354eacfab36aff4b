"""Reading files with clear errors, and writing them whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from perception.core.structures import DataError

_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{16}\.tmp(\.[^.]*)?", re.DOTALL)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{,99}")
_LONGEST_NAME = 200  # bytes; file systems allow 255, and temporary names are longer


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; rename it to ``path`` on success.

    The temporary name keeps the suffix, because image writers choose the format by
    it, and nobody can foretell it to put a link there. On any error the temporary file
    is removed and ``path`` stays as it was. What a killed process left in the folder is
    removed by the next one that writes there.

    Raises:
        DataError: If the file cannot be written (disk full, no permission).
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent.resolve())
        held = _create_held(temporary)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            os.close(held)
    except OSError as error:
        raise DataError(f"{path}: cannot write: {error.strerror or error}") from error
    finally:
        # The folder itself may be what could not be made.
        with suppress(OSError):
            temporary.unlink()


def _create_held(temporary: Path) -> int:
    """Create a file and hold its lock, which the system lets go of after a kill."""
    while True:
        held = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_SH)
        if os.fstat(held).st_nlink:
            return held
        os.close(held)  # taken for a leftover before it was held


@cache
def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files that no process holds; once for every folder."""
    names: list[str] = []
    with suppress(OSError):  # one may write to a folder that one may not list
        names = os.listdir(folder)
    for name in names:
        if not _TEMPORARY.fullmatch(name):
            continue
        with suppress(OSError):
            number = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(folder / name)
            finally:
                os.close(number)


def make_folder(folder: str | os.PathLike) -> None:
    """Make a folder, and those that it lies in.

    Raises:
        DataError: If it cannot be made, or a file is there.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{folder}: cannot make this folder: {reason}") from error


def path_part(name: object, where: object) -> str:
    """``name``, found in data, once it is known to be one component of a path.

    Whatever comes from data and becomes the name of a file or folder goes through here.

    Args:
        name: What the data say.
        where: The file it comes from, for the error.

    Raises:
        DataError: If it is no text or leads elsewhere: ``..``, ``a/b``, hidden, too
            long.
    """
    text = name if isinstance(name, str) else ""
    if _PLAIN_NAME.fullmatch(text):  # nearly all, of millions
        return text
    bad = text.startswith(".") or any(c in "/\\" or not c.isprintable() for c in text)
    if bad or not text.strip() or len(text.encode()) > _LONGEST_NAME:
        raise DataError(
            f"{where}: {str(name)[:80]!r} becomes a file's name: expected one name "
            "without slashes, and no dot in front"
        )
    return text


def path_within(name: object, where: object) -> str:
    """``name``, found in data, once it is known to lead below the folder it is put to.

    Raises:
        DataError: If a component of it is not as :func:`path_part` wants it.
    """
    for part in str(name).split("/"):
        path_part(part, where)
    return str(name)


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Write a file, atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def read_bytes(path: str | os.PathLike, *, what: str = "") -> bytes:
    """The file's content.

    Args:
        path: The file; pipes and devices are refused, nobody waits for them.
        what: What it should hold, for the error.

    Raises:
        DataError: If the file is missing or cannot be read.
    """
    said = f"{path}: cannot read{f' {what}' if what else ''}"
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(number, "rb") as file:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise DataError(f"{said}: not a regular file")
            return file.read()
    except DataError:
        raise
    except (OSError, ValueError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{said}: {reason}") from error


def read_text(path: str | os.PathLike, *, what: str = "") -> str:
    """The file's text, or DataError if it is missing or no UTF-8.

    A byte order mark, which editors on Windows write, is no part of it.
    """
    try:
        return read_bytes(path, what=what).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected a text file") from error


def read_json(path: str | os.PathLike, *, what: str = "JSON") -> Any:
    """The value in a JSON file.

    Args:
        path: The file, in UTF-8.
        what: What it should hold, for the error.

    Raises:
        DataError: If the file is missing, no UTF-8 text, no JSON or nested too deep.
    """
    return parse_json(read_bytes(path, what=what), f"{path}: cannot read {what}")


def parse_json(content: bytes, where: str) -> Any:
    """The value of a JSON text, or DataError that begins with ``where``."""
    try:
        return json.loads(content.decode("utf-8-sig"))
    except RecursionError as error:
        raise DataError(f"{where}: nested too deep") from error
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error})") from error


def write_json(path: str | os.PathLike, value: Any, *, indent: int | None = 1) -> None:
    """Write ``value`` as JSON, indented unless None, atomically."""
    end = "" if indent is None else "\n"
    write_bytes(path, (json.dumps(value, indent=indent) + end).encode())


def claim(note: str | os.PathLike, wanted: Any, *, taken: str) -> None:
    """Remember in ``note`` how its folder is made, or check that it is made so.

    Args:
        note: A JSON file in the folder.
        wanted: What determines the content of the folder, as JSON holds it.
        taken: Something that is in such a folder as soon as anything is.

    Raises:
        DataError: If the folder is made in another way, or holds no note.
    """
    note = Path(note)
    folder = note.parent
    if note.exists():
        found = read_json(note, what="how the folder was made")
        if found != wanted:
            raise DataError(
                f"{folder}: holds what was made with {found}, asked for {wanted}; "
                "choose another folder or remove it"
            )
    elif (folder / taken).exists():
        raise DataError(
            f"{folder}: holds {taken} without {note.name}; choose another folder"
        )
    else:
        write_json(note, wanted)
