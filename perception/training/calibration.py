"""What honest frames look like to the agreement gate, from frames it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tqdm import tqdm

from perception.core.structures import DataError
from perception.datasets.frame_dataset import FrameDataset
from perception.datasets.loading import build_loader
from perception.models.consensus.gate import contradictions
from perception.models.fusion import AgreementFusion


@torch.no_grad()
def calibrate_gate(
    detector: Any,
    dataset: FrameDataset,
    indices: Sequence[int],
    *,
    batch_size: int = 8,
    workers: int = 0,
) -> dict[str, tuple[float, float]]:
    """Set the mean and deviation of a detector's ``AgreementFusion``, in place.

    Args:
        detector: A ``MultiModalDetector`` in eval mode.
        dataset: Clean frames that it was not trained on; labels are not needed.
        indices: Numbers of two or more of them.
        batch_size: Frames at a time.
        workers: Processes that read data.

    Returns:
        The shares of the frames in which a sensor is blamed and in which somebody is,
        but not whom, ``before`` and ``after``.

    Raises:
        DataError: If the detector has no such gate, or there are too few frames.
    """
    fusion = detector.fusion
    if not isinstance(fusion, AgreementFusion):
        raise DataError(
            f"only AgreementFusion is calibrated, got {type(fusion).__name__}"
        )
    if len(indices) < 2:
        raise DataError(f"calibration needs two frames or more, got {len(indices)}")
    loader = build_loader(dataset, indices, batch_size=batch_size, workers=workers)
    seen = []
    for data in tqdm(loader, desc="calibrate", unit="batch"):
        inputs = detector.data_preprocessor(data, False)["inputs"]
        fused = detector.fuse(detector.extract_branches(inputs))
        seen.append(contradictions(fused.views))
    logs = torch.cat(seen)
    before = fusion.false_alarms(logs)
    fusion.calibrate(logs)
    return {"before": before, "after": fusion.false_alarms(logs)}
