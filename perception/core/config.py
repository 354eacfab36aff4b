"""Configs of detectors and their data: read, checked, changed."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings

from perception.core.structures import DataError

# Entries that a config may lack: what MMEngine's runner reads, and `load_config`.
_OPTIONAL = {
    *inspect.signature(Runner).parameters,
    *("activation_checkpointing", "compile", "custom_imports", "data_root"),
    *("efficient_conv_bn_eval", "find_unused_parameters", "model_wrapper_cfg"),
    "sync_bn",
}


def load_config(
    path: str | os.PathLike, options: Mapping[str, Any] | None = None
) -> Config:
    """Read a config file and set dotted options in it.

    A ``data_root`` in the config becomes the root of every data loader's frames.

    Raises:
        DataError: If the file is missing or is not a config, or an option sets an
            entry that the config does not have at the top.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such config file")
    try:
        config = Config.fromfile(path)
        _check_options(path, config, options or {})
        config.merge_from_dict(dict(options or {}))
        for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
            if "data_root" in config and loader in config:
                config[loader].dataset.frames.setdefault("root", config.data_root)
    except DataError:
        raise
    except Exception as error:  # a config is code: anything can go wrong in it
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{path}: not a usable config ({reason})") from error
    return config


def _check_options(
    path: str | os.PathLike, config: Config, options: Iterable[str]
) -> None:
    """Raise DataError if an option sets what nothing reads, e.g. a misspelt entry."""
    for option in options:
        entry = option.split(".")[0]
        if entry in config or entry in _OPTIONAL:
            continue
        near = get_close_matches(entry, [*config, *_OPTIONAL], 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise DataError(f"{path}: has no entry {entry!r} to set{hint}")


def as_config(config: str | os.PathLike | Config) -> Config:
    """A config from a file or as it is, with its modules imported."""
    if not isinstance(config, Config):
        config = load_config(config)
    init_default_scope(config.get("default_scope", "mmdet"))
    if "custom_imports" in config:
        import_modules_from_strings(**config.custom_imports)
    return config


def first_evaluator(config: Config) -> dict[str, Any]:
    """The config's test evaluator; of several the first, whose figures lead."""
    evaluator = config.get("test_evaluator", {})
    return evaluator[0] if isinstance(evaluator, list | tuple) else evaluator


def default_work_dir(config_file: str | os.PathLike) -> Path:
    """``work_dirs/<folder>_<name>`` for ``configs/<folder>/<name>.py``."""
    path = Path(config_file)
    return Path("work_dirs") / f"{path.resolve().parent.name}_{path.stem}"
