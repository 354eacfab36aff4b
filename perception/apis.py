"""What a notebook or another program imports.

from perception.apis import build_dataset, build_loader, detect, load_detector

config = "configs/synthetic/consensus_robust.py"
detector = load_detector(config, "data/zoo/consensus_robust.safetensors")
frames = build_dataset(config, "val")
samples = detect(detector, frames, [0, 1, 2])
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterable
from typing import Any, Literal

import torch
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.utils import import_modules_from_strings
from torch.utils.data import DataLoader, Subset

from perception.core.checkpoints import load_checkpoint
from perception.core.structures import DataError
from perception.datasets.frame_dataset import FrameDataset, collate_frames
from perception.models import MultiModalDetector
from perception.models.consensus.monitor import SensorMonitor, SensorState
from perception.training.runner import compute_in_float32, load_config

__all__ = [
    "SensorMonitor",
    "SensorState",
    "as_config",
    "build_dataset",
    "build_loader",
    "detect",
    "load_detector",
]

Part = Literal["train", "val", "test"]


def as_config(config: str | os.PathLike | Config) -> Config:
    """A config from a file or as it is, with its modules imported."""
    if not isinstance(config, Config):
        config = load_config(config)
    init_default_scope(config.get("default_scope", "mmdet"))
    if "custom_imports" in config:
        import_modules_from_strings(**config.custom_imports)
    return config


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
    compute_in_float32()
    config = as_config(config)
    detector = MODELS.build(copy.deepcopy(config.model))
    if checkpoint is None:
        _forget_closed_log_files()
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
    classes = config.test_dataloader.dataset.classes
    detector.dataset_meta = {"classes": tuple(classes)}
    return detector.to(device).eval()


def _forget_closed_log_files() -> None:
    """Drop log files that somebody closed; MMEngine would write to them and fail.

    ``logging.config``, which some libraries call when imported, closes all of them.
    """
    logger = MMLogger.get_current_instance()
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler) and handler.stream is None:
            logger.removeHandler(handler)


def build_dataset(
    config: str | os.PathLike | Config, part: Part = "val"
) -> FrameDataset:
    """The data set of a config: ``train``, ``val`` or ``test``."""
    config = as_config(config)
    return DATASETS.build(config[f"{part}_dataloader"].dataset)


def build_loader(
    dataset: FrameDataset,
    indices: Iterable[int] | None = None,
    *,
    batch_size: int = 8,
    workers: int = 0,
) -> DataLoader:
    """Batches of a data set in order, as a detector's preprocessor takes them.

    Args:
        dataset: The frames.
        indices: Numbers of those wanted, in this order; all without.
        batch_size: Frames of a batch; the last one may have fewer.
        workers: Processes that read them; 0 reads in this one.

    Raises:
        IndexError: If there is no frame of such a number.
    """
    chosen: Any = dataset
    if indices is not None:
        numbers = list(indices)
        # The data set itself would count on, through the frames of later epochs.
        if bad := [i for i in numbers if not 0 <= i < len(dataset)]:
            raise IndexError(
                f"frames are numbered 0 … {len(dataset) - 1}, got {bad[0]}"
            )
        chosen = Subset(dataset, numbers)
    return DataLoader(
        chosen, batch_size, num_workers=workers, collate_fn=collate_frames
    )


@torch.no_grad()
def detect(
    detector: MultiModalDetector,
    dataset: FrameDataset,
    indices: Iterable[int] | None = None,
) -> list[DetDataSample]:
    """Detections of some or all frames, boxes in pixels of the original image.

    Args:
        detector: In eval mode.
        dataset: The frames.
        indices: Numbers of those wanted; all without.

    Returns:
        One sample per index, in their order.

    Raises:
        IndexError: If there is no frame of such a number.
    """
    samples: list[DetDataSample] = []
    for data in build_loader(dataset, indices):
        samples += detector.test_step(data)
    return samples
