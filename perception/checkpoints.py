"""Loading weights without running anybody's code.

MMEngine falls back to unrestricted unpickling when a checkpoint holds more than
tensors. Importing this module replaces its loader of local files by one that never
does: only tensors and plain containers are read, and :class:`PlainCheckpointHook` has
checkpoints hold nothing else. ``.safetensors`` files are read as well.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import CheckpointLoader
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from perception.files import replacing
from perception.structures import DataError


def load_checkpoint(
    path: str | os.PathLike, map_location: str | torch.device | Callable | None = "cpu"
) -> dict[str, Any]:
    """Read a checkpoint (``.pth``) or bare weights (``.safetensors``).

    Returns:
        A dict with at least ``state_dict``.

    Raises:
        DataError: If the file is missing, damaged, or holds anything but tensors and
            plain containers.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"{path}: no such checkpoint")
    if path.suffix == ".safetensors":
        try:
            return {"state_dict": load_file(path), "meta": {}}
        except SafetensorError as error:
            raise DataError(f"{path}: not a safetensors file ({error})") from error
    try:
        loaded = torch.load(path, map_location=map_location, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise DataError(
            f"{path}: not a whole checkpoint of tensors and plain values "
            f"({type(error).__name__})"
        ) from error
    if not isinstance(loaded, dict):
        raise DataError(f"{path}: expected a dict of weights, got {type(loaded)}")
    return loaded if "state_dict" in loaded else {"state_dict": loaded, "meta": {}}


@CheckpointLoader.register_scheme(prefixes="", force=True)
def _load_for_mmengine(filename: str, map_location: Any = None) -> dict[str, Any]:
    """MMEngine's hook for local files."""
    return load_checkpoint(filename, map_location)


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Reduces checkpoints to what can be loaded without unpickling objects.

    MMEngine's message hub holds its log histories as objects. Resuming needs only its
    plain values (best score, best file); the histories merely smooth the log.
    """

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Replace the message hub by its plain values."""
        info = checkpoint["message_hub"]["runtime_info"]
        # NumPy's scalars are instances of float; only the built-in types are plain.
        plain = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in info.items()
            if isinstance(value, bool | int | float | str)
        }
        checkpoint["message_hub"] = {
            "log_scalars": {},
            "runtime_info": plain,
            "resumed_keys": dict.fromkeys(plain, True),
        }


def save_weights(path: str | os.PathLike, state_dict: dict[str, torch.Tensor]) -> None:
    """Write bare weights as ``.safetensors``, atomically."""
    with replacing(path) as temporary:
        save_file(
            {name: value.contiguous() for name, value in state_dict.items()}, temporary
        )


def sha256(path: str | os.PathLike) -> str:
    """Hexadecimal SHA-256 of a file, to name a checkpoint in results."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
