"""Whether mmcv's compiled operators are there, explained before anything needs them."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from perception.core.structures import DataError

HOW_TO_GET_OPERATORS = """\
In a checkout, `make setup` does everything. In an environment of your own, with torch
already importable in it:
    pip install "setuptools<80" wheel ninja psutil packaging
    pip uninstall -y mmcv mmcv-lite onedl-mmcv
    pip install --no-build-isolation --no-cache-dir onedl-mmcv
The last compiles for about 10 minutes and needs g++ and python3-dev. Without
--no-build-isolation it finishes quickly, but builds no operators."""


def missing_mmcv_ops() -> str | None:
    """Why mmcv's compiled operators cannot be used; None if they are there.

    It only looks for the file, importing nothing: it takes well under a millisecond.
    """
    spec = importlib.util.find_spec("mmcv")
    if spec is None or not spec.submodule_search_locations:
        return f"mmcv is not installed.\n{HOW_TO_GET_OPERATORS}"
    for folder in spec.submodule_search_locations:
        if any(Path(folder).glob("_ext.*")):
            return None
    return (
        f"mmcv is installed without its compiled operators (no mmcv._ext in "
        f"{spec.submodule_search_locations[0]}).\n{HOW_TO_GET_OPERATORS}"
    )


def require_mmcv_ops() -> None:
    """Make sure that mmcv's compiled operators load.

    Raises:
        ImportError: If they do not, saying why and how to get them.
    """
    reason = missing_mmcv_ops()
    if reason:
        raise ImportError(reason)
    try:
        importlib.import_module("mmcv.ops")
    except ImportError as error:
        raise ImportError(
            f"mmcv's compiled operators do not load, most often because they were "
            f"built for another torch ({error}).\n{HOW_TO_GET_OPERATORS}"
        ) from error


def require_extra(module: str, extra: str) -> ModuleType:
    """A module that only an extra installs.

    Raises:
        DataError: If it cannot be imported; tells how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        reason = "" if isinstance(error, ModuleNotFoundError) else f" ({error})"
        raise DataError(
            f"{module} is not installed{reason}; run: pip install -e '.[{extra}]'"
        ) from error
