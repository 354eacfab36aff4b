"""Functions by their names ``module:function``, as configs and command lines do."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from perception.core.structures import DataError


def function_of(name: str) -> Callable[..., Any]:
    """What ``module:function`` names; modules of the working folder are found as well.

    Raises:
        DataError: If there is no such module or function, or importing it fails.
    """
    module, colon, function = name.partition(":")
    if not (module and colon and function.isidentifier()):
        raise DataError(f"{name!r} is not of the form module:function")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # somebody else's code: anything can go wrong in it
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{name}: cannot be imported ({reason})") from error
    if not callable(found):
        raise DataError(f"{name}: a {type(found).__name__}, expected a function")
    return found  # type: ignore[no-any-return]
