"""What made a result: detector, data and frames, the device and the versions.

Adversarial inputs follow rounding errors, so another device or another PyTorch finds
others; another OpenCV takes other pixels where a depth map is made smaller. Torch and
OpenCV are loaded only to ask for them.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmengine.config import Config

from perception import __version__
from perception.core.checkpoints import local_file, sha256

_DECISIVE = ("kind", "tf32", "torch", "opencv")
_PACKAGES = ("torch", "numpy", "opencv-python", "onedl-mmengine", "onedl-mmdetection")


@dataclass(frozen=True)
class Environment:
    """What computed a result; None where that is not known.

    Attributes:
        device: Its name.
        kind: ``cpu`` or ``cuda``.
        tf32: Whether convolutions are computed in TF32.
        torch: Version of PyTorch.
        opencv: Version of OpenCV.
        perception: Version of this package.
        threads: Of the CPU.
    """

    device: str
    kind: str | None = None
    tf32: bool | None = None
    torch: str | None = None
    opencv: str | None = None
    perception: str | None = None
    threads: int | None = None

    @classmethod
    def here(cls, device: Any) -> Environment:
        """This process and a device (a ``torch.device`` or its name) of its own."""
        import cv2
        import torch

        device = torch.device(device)
        cuda = device.type == "cuda"
        return cls(
            device=torch.cuda.get_device_name(device) if cuda else device.type,
            kind=device.type,
            tf32=cuda and torch.backends.cudnn.allow_tf32,
            torch=str(torch.__version__),
            opencv=cv2.__version__,
            perception=__version__,
            threads=torch.get_num_threads(),
        )

    def mixable(self, other: Environment) -> bool:
        """Whether frames of both belong into the same results; unknown ones do."""
        pairs = [(getattr(self, key), getattr(other, key)) for key in _DECISIVE]
        return all(one == two for one, two in pairs if None not in (one, two))

    def __str__(self) -> str:
        """``cpu, torch 2.9.1, opencv 4.11.0, perception 0.1.0, 1 thread``."""
        words = [self.device]
        if self.tf32:
            words.append("TF32")
        for name in ("torch", "opencv", "perception"):
            if (number := getattr(self, name)) is not None:
                words.append(f"{name} {number}")
        if self.threads:
            words.append(f"{self.threads} thread{'s' if self.threads > 1 else ''}")
        return ", ".join(words)


UNKNOWN = Environment("an unknown device")
"""Of records that do not tell."""


def distinct(found: Iterable[Environment]) -> tuple[Environment, ...]:
    """Each once, in order."""
    return tuple(dict.fromkeys(found))


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def settings_of(
    config: Config,
    config_file: str | os.PathLike,
    checkpoint: str | os.PathLike,
    frame_ids: Sequence[str],
) -> dict[str, Any]:
    """What determines results on the config's test frames, as plain values.

    Args:
        config: Of the detector and its data.
        config_file: Where it was read from.
        checkpoint: The detector's weights; not looked at for a ``target``.
        frame_ids: The frames used.
    """
    data = config.test_dataloader.dataset
    which = "target" if "target" in config else "model"
    used = Config({which: config[which], "data": data}).to_dict()
    split = data.frames.get("split", "all")
    made_of = (
        _sha256_of_files(used["target"])
        if "target" in config
        else sha256(local_file(checkpoint))
    )
    return {
        "config": str(config_file),
        "config_sha256": hashlib.sha256(repr(used).encode()).hexdigest(),
        "checkpoint_sha256": made_of,
        "data_root": str(data.frames.get("root", "")),
        "split": Path(split).stem if isinstance(split, str) else "given",
        "frame_ids": list(frame_ids),
    }


def _sha256_of_files(target: Any) -> str:
    """Of all files that a target's config names, and of modules in ``module:function``.

    What these in turn read is not known.
    """
    total = hashlib.sha256()
    for word in _words(target):
        module, colon, _ = word.partition(":")
        file: str | None = word
        if colon and all(part.isidentifier() for part in module.split(".")):
            found = sys.modules.get(module)  # imported when the target was made
            file = getattr(found, "__file__", None)
        if file and os.path.isfile(file):
            total.update(sha256(file).encode())
    return total.hexdigest()


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _words(one)
