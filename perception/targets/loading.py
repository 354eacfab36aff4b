"""Targets from a config and a checkpoint."""

from __future__ import annotations

import os

from mmengine.config import Config

from perception.models.loading import load_detector
from perception.targets.multimodal import DetectorTarget


def load_target(
    config: str | os.PathLike | Config,
    checkpoint: str | os.PathLike | None = None,
    *,
    device: str = "cpu",
) -> DetectorTarget:
    """A detector as attacks, corruptions and evaluation know it.

    See :func:`load_detector`.
    """
    return DetectorTarget(load_detector(config, checkpoint, device=device))
