"""Reading files with clear errors, and writing them whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from perception.core.structures import DataError

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.tmp(\..*)?")


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; rename it to ``path`` on success.

    The temporary name keeps the suffix, because image writers choose the format by
    it, and nobody can foretell it to put a link there. On any error the temporary file
    is removed and ``path`` stays as it was. What a killed process left in this folder
    is removed by the first that writes there after it.

    Raises:
        DataError: If the file cannot be written (disk full, no permission).
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent.absolute())
        number = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        try:
            fcntl.flock(number, fcntl.LOCK_EX)  # somebody is writing it
            yield temporary
            os.replace(temporary, path)
        finally:
            os.close(number)
    except OSError as error:
        raise DataError(f"{path}: cannot write: {error.strerror or error}") from error
    finally:
        # The folder itself may be what could not be made.
        with suppress(OSError):
            temporary.unlink()


@cache  # once per folder and process: large folders take long to list
def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of processes that are gone."""
    for entry in os.scandir(folder):
        if _TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            with suppress(OSError):  # another one writes it, or has removed it
                number = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW)
                try:
                    fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.path)
                finally:
                    os.close(number)


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Write a file, atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def read_bytes(path: str | os.PathLike) -> bytes:
    """The file's content.

    Raises:
        DataError: If the file is missing or cannot be read.
    """
    _require_regular(path)
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot read: {reason}") from error


def _require_regular(path: str | os.PathLike) -> None:
    """Raise DataError for pipes and devices: they would be waited for for ever."""
    if Path(path).exists() and not (Path(path).is_file() or Path(path).is_dir()):
        raise DataError(f"{path}: cannot read: not a regular file")


def read_text(path: str | os.PathLike) -> str:
    """The file's text, or DataError if it is missing or no UTF-8.

    A byte order mark, which editors on Windows write, is no part of it.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
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
    _require_regular(path)
    try:
        return json.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
        elif isinstance(error, RecursionError):
            reason = "nested too deep"
        else:
            reason = f"not JSON ({error})"
        raise DataError(f"{path}: cannot read {what}: {reason}") from error


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
