"""What a notebook or another program imports.

from perception.apis import build_dataset, build_loader, detect, load_detector

config = "configs/synthetic/consensus_robust.py"
detector = load_detector(config, "data/zoo/consensus_robust.safetensors")
frames = build_dataset(config, "val")
samples = detect(detector, frames, [0, 1, 2])
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from mmdet.structures import DetDataSample

from perception.core.config import as_config
from perception.datasets.frame_dataset import FrameDataset
from perception.datasets.loading import build_dataset, build_loader
from perception.evaluation.live import LiveMonitor
from perception.models import MultiModalDetector
from perception.models.consensus.monitor import SensorMonitor, SensorState
from perception.models.loading import load_detector
from perception.targets.loading import load_target

__all__ = [
    "LiveMonitor",
    "SensorMonitor",
    "SensorState",
    "as_config",
    "build_dataset",
    "build_loader",
    "detect",
    "load_detector",
    "load_target",
]


@torch.no_grad()
def detect(
    detector: MultiModalDetector,
    dataset: FrameDataset,
    indices: Iterable[int] | None = None,
) -> list[DetDataSample]:
    """Detections of some or all frames, boxes in pixels of the original image.

    A detector of boxes in metres adds ``boxes_3d`` (D, 7) to ``pred_instances``: x, y,
    z of the bottom face's centre in the cam frame (x right, y down, z forward), height,
    width, length in metres, yaw around y in radians.

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
