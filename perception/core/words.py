"""Words that people type, and what they are told when one is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from perception.core.structures import DataError


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean X?"``, X being the known word most like this one, or nothing.

    It is the end of a message that has said what is wrong with ``word``.
    """
    near = get_close_matches(word, [str(one) for one in known], 1)
    return f"; did you mean {near[0]}?" if near else ""


def one_line(error: DataError) -> str:
    """The message alone, also of an error that comes from a data loader's worker.

    PyTorch puts the worker's traceback, which ends with the message, in its place.
    """
    message = str(error).strip().splitlines()[-1]
    return message.removeprefix(f"{DataError.__module__}.DataError: ")


def value_of(text: str) -> Any:
    """What a word of the command line is as a config's value.

    Numbers, ``true``, ``false`` and ``None`` are what they look like; ``[a, b]`` or
    ``a,b`` is a list and ``(a, b)`` a tuple, one in the other; everything else is text,
    spaces included, and so is whatever stands in quotes of its own: ``"'1'"``.

    Raises:
        ValueError: If brackets or quotes do not match.
    """
    text = text.strip()
    if len(parts := _split(text)) > 1:
        return [value_of(part) for part in parts if part.strip()]
    ends = text[:1] + text[-1:]
    if ends in ("''", '""') and len(text) > 1:
        return text[1:-1]
    if ends in ("[]", "()"):
        values = [value_of(part) for part in _split(text[1:-1]) if part.strip()]
        return values if text[0] == "[" else tuple(values)
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    plain = {"true": True, "false": False}
    return None if text == "None" else plain.get(text.lower(), text)


def _split(text: str) -> list[str]:
    """The parts between commas that stand in no brackets and no quotes."""
    if "," not in text and text[:1] not in ("[", "(", "'", '"'):
        return [text]  # brackets and quotes within a word are part of it
    parts, open_brackets, quote = [""], "", ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and parts[-1].rstrip()[-1:] in ("", "[", "(", ","):
            quote = character
        elif character in "[(":
            open_brackets += character
        elif character in "])":
            if open_brackets[-1:] != {"]": "[", ")": "("}[character]:
                raise ValueError("brackets do not match")
            open_brackets = open_brackets[:-1]
        elif character == "," and not open_brackets:
            parts.append("")
            continue
        parts[-1] += character
    if open_brackets:
        raise ValueError("brackets do not match")
    if quote:
        raise ValueError("quotes do not match")
    return parts
