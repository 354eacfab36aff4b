"""Configs of detectors and their data: read, checked, changed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.utils import import_modules_from_strings

from perception.core.config_options import apply_options, check_classes, check_options
from perception.core.former_names import BASE_ENTRIES, refuse_former_names
from perception.core.structures import DataError


def load_config(
    path: str | os.PathLike, options: Mapping[str, Any] | None = None
) -> Config:
    """Read a config file and set dotted options in it.

    What depends on some of them follows, see :func:`apply_options`.

    Raises:
        DataError: If the file is missing or is not a config, it or an option uses a
            former name, an option sets what nothing reads, or data sets, heads and
            overlaps are of different classes.
    """
    require_config_file(path, "config")
    try:
        config = Config.fromfile(path)
        refuse_former_names(path, config, options or {})
        if options:
            _import_all(config)
            check_options(config, options)
        apply_options(config, options or {})
        check_classes(config)
    except DataError:
        raise
    except Exception as error:  # a config is code: anything can go wrong in it
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        for former, current in BASE_ENTRIES.items():
            if repr(former) in reason:
                reason += f"; {former} is called {current} now"
        raise DataError(f"{path}: not a usable config ({reason})") from error
    return config


def require_config_file(
    path: str | os.PathLike, what: str, suffixes: Sequence[str] = (".py",)
) -> None:
    """Raise DataError unless a file may be read as a config.

    A ``.py`` file is code and says so by its name. Other formats that MMEngine knows
    look like data and run code all the same: YAML does, JSON by its ``_base_``, and a
    dotted ``type`` imports whatever it leads to.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such {what} file")
    if Path(path).suffix not in suffixes:
        raise DataError(
            f"{path}: a {what} file ends in {' or '.join(suffixes)}, got "
            f"{Path(path).suffix!r}"
        )


def as_config(config: str | os.PathLike | Config) -> Config:
    """A config from a file or as it is, with its modules imported."""
    if not isinstance(config, Config):
        config = load_config(config)
    init_default_scope(config.get("default_scope", "mmdet"))
    _import_all(config)
    return config


def _import_all(config: Config) -> None:
    """Import the modules that register what a config names."""
    if "custom_imports" in config:
        import_modules_from_strings(**config.custom_imports)


@contextmanager
def usable(config: Config, part: str) -> Iterator[None]:
    """Make one line of whatever goes wrong where a part of a config is built.

    Constructors meet wrong names and types of a config with errors of any kind.

    Raises:
        DataError: Names the config and the part.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        raise DataError(f"{config.filename}: not a usable {part} ({reason})") from error


def first_evaluator(config: Config) -> dict[str, Any]:
    """The config's test evaluator; of several the first, whose figures lead."""
    evaluator = config.get("test_evaluator", {})
    return evaluator[0] if isinstance(evaluator, list | tuple) else evaluator


def default_work_dir(config_file: str | os.PathLike) -> Path:
    """``work_dirs/<folder>_<name>`` for ``configs/<folder>/<name>.py``."""
    path = Path(config_file)
    return Path("work_dirs") / f"{path.resolve().parent.name}_{path.stem}"
