"""Targets from a config: this project's detectors, adapters, systems of one's own."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Protocol

import torch
from mmengine.config import Config

from perception.attacks.batch import AttackBatch
from perception.attacks.registry import class_of
from perception.attacks.target import Target
from perception.core.config import as_config, usable
from perception.core.structures import DataError
from perception.models.history_detector import HistoryDetector
from perception.models.loading import load_detector
from perception.models.preprocessor import MultiModalPreprocessor
from perception.targets.batches import frame_batch
from perception.targets.functions import function_of
from perception.targets.history import HistoryTarget
from perception.targets.multimodal import DetectorTarget
from perception.targets.pictures import PictureFormat
from perception.targets.registry import TARGETS


class LoadedTarget(Target, Protocol):
    """A target, and how the frames of a data set come to it."""

    device: torch.device
    preprocessor: MultiModalPreprocessor

    def batch(
        self, data: Mapping[str, Any], ids: Sequence[int] | None = None
    ) -> AttackBatch:
        """What a data loader yields as an attack needs it, see :func:`frame_batch`."""


def load_target(
    config: str | os.PathLike | Config,
    checkpoint: str | os.PathLike | None = None,
    *,
    device: str = "cpu",
) -> Any:
    """A system as attacks, corruptions and evaluation know it, a ``LoadedTarget``.

    Args:
        config: Of a detector of this project, which may have a ``history`` (arguments
            of a ``HistoryDetector``), or one with ``target = dict(type=...)``.
        checkpoint: The detector's weights; see :func:`load_detector`.
        device: Where it runs.

    Raises:
        DataError: If the weights do not fit, or the target cannot be made.
    """
    config = as_config(config)
    if "target" not in config:
        own = copy.deepcopy(config)
        history = own.pop("history", None)
        detector = load_detector(own, checkpoint, device=device)
        if history is None:
            return DetectorTarget(detector)
        with usable(config, "history"):
            return HistoryTarget(HistoryDetector(detector, **history))
    if checkpoint:
        raise DataError(
            f"{config.filename}: its target takes no checkpoint beside it, got "
            f"{checkpoint}"
        )
    return build_target(config.target, device=device)


def build_target(config: Mapping[str, Any], *, device: str = "cpu") -> Any:
    """A ``LoadedTarget`` from ``dict(type=..., ...)``.

    Args:
        config: ``type`` is the name of an adapter of this package, or the
            ``module:function`` (or class) that makes a target of the other entries. Of
            an adapter ``picture`` may be a dict of ``PictureFormat``'s fields, and
            ``module`` or ``model`` the ``module:function`` that makes one.
        device: Where it shall run, for those that can be told.

    Raises:
        DataError: If that fails, or what is made is no target; says why.
    """
    fields = dict(config)
    kind = fields.pop("type", None)
    try:
        if isinstance(kind, str) and ":" in kind:
            make = function_of(kind)
        else:
            make = class_of(kind, TARGETS, "target")
            for name in ("module", "model"):
                if isinstance(fields.get(name), str):
                    fields[name] = function_of(fields[name])()
            if isinstance(fields.get("picture"), Mapping):
                fields["picture"] = PictureFormat(**fields["picture"])
        taken = inspect.signature(make).parameters
        if "device" in taken or "settings" in taken:  # the adapters hand settings on
            fields.setdefault("device", device)
        target = make(**fields)
    except DataError:
        raise
    except Exception as error:  # somebody else's code: anything can go wrong in it
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:400]
        raise DataError(f"target {kind}: cannot be made ({reason})") from error
    if not isinstance(target, Target):
        lacks = [n for n in ("sensors", "classes", "predict") if not hasattr(target, n)]
        raise DataError(
            f"target {kind}: made a {type(target).__name__}, which is no target: it "
            f"lacks {', '.join(lacks)}"
        )
    return with_batches(target, device)


def with_batches(target: Any, device: str = "cpu") -> Any:
    """The target, given what it lacks to take the frames of a data set.

    ``preprocessor`` and ``batch`` follow from its sensors, padding nothing.
    """
    if not hasattr(target, "device"):
        target.device = torch.device(device)
    if not hasattr(target, "preprocessor"):
        told = {name: asdict(spec) for name, spec in target.sensors.items()}
        for one in told.values():
            one["channels"] = [tuple(channel.values()) for channel in one["channels"]]
        made = MultiModalPreprocessor(told, pad_size_divisor=1)
        target.preprocessor = made.to(target.device)
    if not hasattr(target, "batch"):
        target.batch = partial(frame_batch, target.preprocessor)
    return target
