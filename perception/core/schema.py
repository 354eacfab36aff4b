"""Files of ours, checked against their schema: the one place where that is done.

A schema is a type that pydantic knows: a dataclass, a ``TypedDict``, a tuple of either.
"""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from perception.core.files import read_json
from perception.core.structures import DataError

Kind = TypeVar("Kind")
Number = Annotated[float, Field(allow_inf_nan=False)]
"""A finite number."""


def read_as(kind: type[Kind], path: str | os.PathLike, *, what: str) -> Kind:
    """The value of a schema in a JSON file.

    Raises:
        DataError: If it cannot be read, or an entry is not as the schema has it; names
            the entry.
    """
    return checked(kind, read_json(path, what=what), path, what=what)


def checked(kind: type[Kind], content: Any, where: object, *, what: str) -> Kind:
    """``content``, plain values, as a value of a schema.

    Args:
        kind: The schema.
        content: What was found.
        where: The file, for the error.
        what: What it should hold.

    Raises:
        DataError: Names the first entry that is not as the schema has it.
    """
    try:
        # As JSON: lists are tuples there, and numbers are never texts.
        text = json.dumps(content)
        return adapter(kind).validate_json(text, strict=True)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{where}: damaged {what}: {place}: {first['msg']}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{where}: damaged {what}: {error}") from error


@cache
def adapter(kind: type[Kind]) -> TypeAdapter[Kind]:
    """Pydantic's reader and writer of a schema."""
    return TypeAdapter(kind)
