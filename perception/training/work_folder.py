"""The folder of a training: what in it is resumed, replaced, removed.

A folder speaks of itself alone: it can be moved or copied, and whatever its files or a
checkpoint say of other places, nothing outside of it is read or removed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS

from perception.core.files import read_text
from perception.core.structures import DataError

_NUMBERED = re.compile(r"(?:epoch|iter)_(\d+)\.pth")
_FILES = ("best_ckpt", "last_ckpt")  # beginnings of what MMEngine calls its files


def latest_checkpoint(folder: str | os.PathLike) -> Path | None:
    """The newest checkpoint in a training's folder, None if there is none.

    That is the one that its ``last_checkpoint`` names, if it is there; MMEngine writes
    whole paths, of which only the name counts. A kill or a full disk may have left that
    file empty: then it is the one of the highest number.
    """
    folder = Path(folder)
    numbers = {
        path: int(match[1])
        for path in folder.glob("*.pth")
        if (match := _NUMBERED.fullmatch(path.name))
    }
    if not numbers:
        return None
    try:
        said = read_text(folder / "last_checkpoint").strip()
    except DataError:
        said = ""
    named = folder / Path(said).name if said else folder
    if named in numbers:
        return named
    newest = max(numbers, key=lambda path: (numbers[path], path.name))
    print_log(
        f"{folder}/last_checkpoint names none of the checkpoints in its folder; taking "
        f"the newest, {newest.name}",
        logger="current",
    )
    return newest


def best_checkpoint(folder: str | os.PathLike) -> Path:
    """The checkpoint that scored best in validation, else the newest.

    Raises:
        DataError: If the folder holds no checkpoint.
    """
    folder = Path(folder)
    best = sorted(folder.glob("best_*.pth"), key=lambda path: path.stat().st_mtime)
    if best:
        return best[-1]
    last = latest_checkpoint(folder)
    if last is None:
        raise DataError(f"{folder}: no checkpoint; train first")
    return last


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Reduces checkpoints to what can be loaded without unpickling objects.

    MMEngine's message hub holds its log histories as objects. Resuming needs only its
    plain values (best score, names of the best and the kept files); the histories
    merely smooth the log. Files are told by their names, and looked for beside the
    checkpoint that is gone on from.
    """

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Replace the message hub by its plain values."""
        info = checkpoint["message_hub"]["runtime_info"]
        # NumPy's scalars are instances of float; only the built-in types are plain.
        plain = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in info.items()
            if isinstance(value, bool | int | float | str) or _is_numbers(value)
        }
        for name in plain:
            if name.startswith(_FILES):
                plain[name] = Path(plain[name]).name
        checkpoint["message_hub"] = _hub(plain)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Believe of files only those that lie in the folder of this training."""
        hub = checkpoint.get("message_hub")
        info = hub.get("runtime_info") if isinstance(hub, dict) else None
        if not isinstance(info, dict):
            return
        folder, known = Path(runner.work_dir), dict(info)
        for name, value in info.items():
            if name.startswith(_FILES):
                own = folder / Path(str(value)).name
                if own.is_file():
                    known[name] = str(own)
                else:
                    del known[name]
        if "best_ckpt" not in known:  # the next best one is the best
            known.pop("best_score", None)
        if not _is_numbers(known.get("keep_ckpt_ids", [])):
            del known["keep_ckpt_ids"]
        checkpoint["message_hub"] = _hub(known)


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int for one in value)


def _hub(info: dict[str, Any]) -> dict[str, Any]:
    return {
        "log_scalars": {},
        "runtime_info": info,
        "resumed_keys": dict.fromkeys(info, True),
    }
