"""Detectors from a config and a checkpoint."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MMLogger

from perception.core.checkpoints import load_checkpoint, secure_mmengine
from perception.core.config import as_config, usable
from perception.core.structures import DataError
from perception.models.detector import MultiModalDetector


def load_detector(
    config: str | os.PathLike | Config,
    checkpoint: str | os.PathLike | None = None,
    *,
    device: str = "cpu",
) -> MultiModalDetector:
    """A detector in eval mode, with trained weights or initial ones.

    Convolutions are computed in float32 from then on, see ``compute_in_float32``.

    Args:
        config: Config or its file.
        checkpoint: ``.pth`` or ``.safetensors``; None leaves the initial weights.
        device: Where it shall run.

    Raises:
        DataError: If the checkpoint does not fit the config; names what differs.
    """
    secure_mmengine()
    compute_in_float32()
    config = without_history(as_config(config))
    with usable(config, "list of classes: test_dataloader.dataset.classes"):
        classes = tuple(config.test_dataloader.dataset.classes)
    detector = built(config)
    if checkpoint is None:
        with _quiet_logger():
            detector.init_weights()
    else:
        weights = load_checkpoint(checkpoint)["state_dict"]
        try:
            detector.load_state_dict(weights)
        except RuntimeError as error:
            differs = " ".join(str(error).split()[:60])
            raise DataError(
                f"{checkpoint}: weights of another detector than "
                f"{config.filename} describes: {differs}"
            ) from error
    detector.dataset_meta = {"classes": classes}
    return detector.to(device).eval()


def without_history(config: Config) -> Config:
    """The config, if it asks for no past.

    Raises:
        DataError: If it does: what works on a detector alone would leave it out.
    """
    if "history" in config:
        raise DataError(
            f"{config.filename}: a detector with a history is followed frame by frame: "
            "tools/drives.py, attack.py and robustness.py can, nothing else"
        )
    return config


def built(config: Config) -> MultiModalDetector:
    """The config's detector as MMEngine builds it, with random weights.

    Raises:
        DataError: If an entry of ``model`` is unknown, missing or of the wrong type.
    """
    with usable(config, "model"):
        detector = MODELS.build(copy.deepcopy(config.model))
    if not isinstance(detector, MultiModalDetector):
        kind = type(detector).__name__
        raise DataError(f"{config.filename}: model is a {kind}, no MultiModalDetector")
    return detector


def compute_in_float32() -> None:
    """Convolutions in float32 from now on, but for autocast.

    PyTorch's default on a GPU, TF32, rounds to 10 bits: gradients would not be those of
    the detector that is attacked.
    """
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def _quiet_logger() -> Iterator[None]:
    """MMEngine's logger without a line for every initial weight.

    Log files that somebody closed are dropped; it would write to them and fail.
    ``logging.config``, which some libraries call when imported, closes all of them.
    """
    logger = MMLogger.get_current_instance()
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler) and handler.stream is None:
            logger.removeHandler(handler)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
