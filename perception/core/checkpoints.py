"""Loading weights without running anybody's code.

MMEngine falls back to unrestricted unpickling when a checkpoint holds more than
tensors. :func:`secure_mmengine`, which whoever loads a detector or trains calls first,
replaces its loaders by one that never does: only tensors and plain containers are read,
and ``training.work_folder.PlainCheckpointHook`` has checkpoints hold nothing else.
``.safetensors`` files are read as well.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.fileio import LocalBackend, register_backend
from mmengine.runner import CheckpointLoader
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from perception.core.files import replacing
from perception.core.structures import DataError

# What wrappers put before every name: parallel training, torch.compile.
_WRAPPERS = ("module.", "_orig_mod.")


def load_checkpoint(
    path: str | os.PathLike, map_location: str | torch.device | Callable | None = "cpu"
) -> dict[str, Any]:
    """Read a checkpoint (``.pth``) or bare weights (``.safetensors``).

    Returns:
        A dict with at least ``state_dict``, its names without a wrapper's prefix.

    Raises:
        DataError: If the file is missing, damaged, holds anything but tensors and
            plain containers, or weights that are not finite numbers.
    """
    path = local_file(path)
    if path.suffix == ".safetensors":
        try:
            loaded: Any = {"state_dict": load_file(path), "meta": {}}
        except SafetensorError as error:
            raise DataError(f"{path}: not a safetensors file ({error})") from error
        return _checked(path, loaded)
    _require_stored(path)
    try:
        loaded = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # damaged bytes make the unpickler raise anything
        raise DataError(
            f"{path}: not a whole checkpoint of tensors and plain values "
            f"({type(error).__name__})"
        ) from error
    if not isinstance(loaded, dict):
        raise DataError(f"{path}: expected a dict of weights, got {type(loaded)}")
    if "state_dict" not in loaded:
        loaded = {"state_dict": loaded, "meta": {}}
    return _checked(path, loaded)


def _checked(path: Path, loaded: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint whose weights are numbers, under the names of the bare model."""
    weights = loaded["state_dict"]
    if not isinstance(weights, dict):
        raise DataError(f"{path}: expected a dict of weights, got {type(weights)}")
    _require_numbers(path, weights)
    while prefix := next((p for p in _WRAPPERS if _all_begin(weights, p)), ""):
        weights = {name.removeprefix(prefix): one for name, one in weights.items()}
    return loaded | {"state_dict": weights}


def _all_begin(weights: Mapping[str, Any], prefix: str) -> bool:
    return bool(weights) and all(str(name).startswith(prefix) for name in weights)


def _require_numbers(path: Path, weights: Mapping[str, Any]) -> None:
    """Raise DataError if weights are not finite, or quantised: both would be used."""
    for name, value in weights.items():
        if not isinstance(value, torch.Tensor):
            continue
        # Views of a few bytes may claim terabytes.
        if value.layout != torch.strided or value.device.type == "meta":
            raise DataError(f"{path}: {name} is no plain tensor")
        if value.nbytes > value.untyped_storage().nbytes():
            raise DataError(f"{path}: {name} claims more values than the file holds")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise DataError(f"{path}: {name} holds values that are not finite numbers")
        if value.ndim > 0 and value.dtype in (torch.int8, torch.uint8):
            raise DataError(f"{path}: {name} is {value.dtype}; expected floating point")


def _require_stored(path: Path) -> None:
    """Raise DataError if a checkpoint's entries are not as PyTorch writes them.

    Compressed, overlapping or longer than the file, a few bytes of them would take all
    the memory.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PK\3\4":
                return  # PyTorch's former format, or nothing that it reads
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
    except Exception as error:  # damaged bytes make it raise anything
        raise DataError(f"{path}: not a whole checkpoint ({error})") from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise DataError(f"{path}: not a checkpoint of PyTorch: it is compressed")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise DataError(f"{path}: its entries claim more bytes than the file holds")


def local_file(path: str | os.PathLike) -> Path:
    """The checkpoint's file; an http(s) address is downloaded once, and kept.

    Raises:
        DataError: If there is no such file or address.
    """
    if not str(path).startswith(("http://", "https://")):
        path = Path(path).expanduser()
        if not path.is_file():
            raise DataError(f"{path}: no such checkpoint")
        return path
    url = str(path)
    name = f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{url.rsplit('/')[-1]}"
    file = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file))
        except OSError as error:
            raise DataError(f"{url}: cannot download: {error}") from error
    return file


def _load_for_mmengine(filename: str, map_location: Any = None) -> dict[str, Any]:
    """MMEngine's hook for every kind of address it knows."""
    return load_checkpoint(filename, map_location)


class _WholeFiles(LocalBackend):
    """MMEngine's files, each in place only when it is whole."""

    def put(self, obj: bytes | memoryview, filepath: str | os.PathLike) -> None:
        """Write beside the file and rename."""
        with replacing(filepath) as temporary:
            temporary.write_bytes(obj)


def secure_mmengine() -> None:
    """From now on MMEngine reads checkpoints by :func:`load_checkpoint` alone.

    Also those of addresses; the schemes that we do not serve (open-mmlab:// and so on)
    become missing files. And what it writes is in place only when it is whole.
    """
    for prefix in list(CheckpointLoader._schemes):
        CheckpointLoader.register_scheme(prefix, _load_for_mmengine, force=True)
    register_backend("local", _WholeFiles, force=True, prefixes="")


def as_safetensors(state_dict: dict[str, torch.Tensor]) -> bytes:
    """Bare weights as the content of a ``.safetensors`` file."""
    return save({name: value.contiguous() for name, value in state_dict.items()})


def save_weights(path: str | os.PathLike, state_dict: dict[str, torch.Tensor]) -> None:
    """Write bare weights as ``.safetensors``, atomically."""
    # Not save_file, which lets nobody else read what it writes.
    with replacing(path) as temporary:
        temporary.write_bytes(as_safetensors(state_dict))


def sha256(path: str | os.PathLike) -> str:
    """Hexadecimal SHA-256 of a file, to name a checkpoint in results."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
