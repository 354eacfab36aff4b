"""What attacked a frame: the device and the versions, as plain values.

Adversarial inputs follow rounding errors, so another device or another PyTorch finds
others; another OpenCV takes other pixels where a depth map is made smaller. Torch and
OpenCV are loaded only to ask for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from perception import __version__

MadeOn = Mapping[str, Any]

UNKNOWN = {"device": "an unknown device"}
"""Of records that do not tell."""
_DECISIVE = ("kind", "tf32", "torch", "opencv")


def made_on(device: Any) -> dict[str, Any]:
    """This process and a device of its own.

    Args:
        device: A ``torch.device`` or its name.

    Returns:
        ``kind`` (``cpu``, ``cuda``), ``device`` (its name), whether convolutions are
        computed in ``tf32``, versions of ``torch``, ``opencv`` and ``perception``,
        ``threads``.
    """
    import cv2
    import torch

    device = torch.device(device)
    cuda = device.type == "cuda"
    return {
        "kind": device.type,
        "device": torch.cuda.get_device_name(device) if cuda else device.type,
        "tf32": cuda and torch.backends.cudnn.allow_tf32,
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "perception": __version__,
        "threads": torch.get_num_threads(),
    }


def mixable(one: MadeOn, other: MadeOn) -> bool:
    """Whether frames of both belong into the same results; unknown ones do."""
    return all(
        one[key] == other[key] for key in _DECISIVE if key in one and key in other
    )


def distinct(found: Iterable[MadeOn]) -> list[MadeOn]:
    """Each once, in order."""
    once: list[MadeOn] = []
    once += (one for one in found if one not in once)
    return once


def told(one: MadeOn) -> str:
    """As a text: ``cpu, torch 2.9.1, opencv 4.11.0, perception 0.1.0, 1 thread``."""
    words = [str(one["device"])]
    if one.get("tf32"):
        words.append("TF32")
    libraries = ("torch", "opencv", "perception")
    words += [f"{name} {one[name]}" for name in libraries if name in one]
    if threads := one.get("threads"):
        words.append(f"{threads} thread{'s' if threads > 1 else ''}")
    return ", ".join(words)
