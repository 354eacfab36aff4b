"""OpenMMLab's packages: whether mmcv's operators are there, and mmdet without noise."""

from __future__ import annotations

import importlib
import importlib.util
import io
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType

from perception.core.structures import DataError

HOW_TO_GET_OPERATORS = """\
In a checkout, `make setup` does everything. In an environment of your own, with torch
already importable in it:
    pip install "setuptools<80" wheel ninja psutil packaging
    pip uninstall -y mmcv mmcv-lite onedl-mmcv
    pip install --no-build-isolation --no-cache-dir onedl-mmcv
The last compiles for 15 to 30 minutes on 2 cores, with g++ and python3-dev. Without
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
    """Make sure that mmcv's compiled operators load, and serve a GPU as well.

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
    # Here for start-up time: it imports torch.
    from perception.core.gpu_operators import provide_gpu_operators

    provide_gpu_operators()


def import_mmdet() -> None:
    """Import what mmdet's registries import later, without remarks on what it lacks.

    It tells everybody that OneDL and faster_coco_eval are not installed, which nothing
    here uses, and draws torch's warning about ``meshgrid`` when it first predicts.
    """
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("mmdet.datasets")
        importlib.import_module("mmdet.evaluation")
    warnings.filterwarnings("ignore", message="torch.meshgrid: in an upcoming release")


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
