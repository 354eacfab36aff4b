"""What benign frames look like to a disagreement gate, from frames it has not seen."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from perception.core.checkpoints import load_checkpoint
from perception.core.structures import DataError
from perception.datasets.frame_dataset import FrameDataset
from perception.datasets.loading import build_loader


def calibration_command(
    config: str, checkpoint: Path, options: Mapping[str, Any]
) -> str | None:
    """The command that calibrates trained weights; None if they have no such gate.

    Args:
        config: The config that was trained.
        checkpoint: What came of it.
        options: Entries of the config that were set.
    """
    if "aggregator.gate.mean" not in load_checkpoint(checkpoint)["state_dict"]:
        return None
    kept = {k: options[k] for k in ("input_size", "classes") if k in options}
    words = ["python", "tools/calibrate.py", config, str(checkpoint), "--out"]
    words += [str(checkpoint.parent / "calibrated.safetensors"), "--cfg-options"]
    words += [f"{name}={_text(value)}" for name, value in kept.items()]
    return f"{shlex.join(words)} data_root=FOLDER_OF_CLEAN_FRAMES"


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(str, value))}]"
    return str(value)


@torch.no_grad()
def calibrate_gate(
    detector: Any,
    dataset: FrameDataset,
    indices: Sequence[int],
    *,
    batch_size: int = 8,
    workers: int = 0,
) -> dict[str, tuple[float, float]]:
    """Set the mean and deviation of a detector's ``DisagreementGate``, in place.

    Args:
        detector: A ``MultiModalDetector`` in eval mode.
        dataset: Clean frames that it was not trained on; labels are not needed.
        indices: Numbers of two or more of them.
        batch_size: Frames at a time.
        workers: Processes that read data.

    Returns:
        The shares of the frames with an attributed alarm and with another one,
        ``before`` and ``after``.

    Raises:
        DataError: If the detector has no such gate, or there are too few frames.
    """
    gate = None if detector.aggregator is None else detector.aggregator.gate
    if gate is None:
        raise DataError("only an aggregator's gate is calibrated, and there is none")
    if len(indices) < 2:
        raise DataError(f"calibration needs two frames or more, got {len(indices)}")
    loader = build_loader(dataset, indices, batch_size=batch_size, workers=workers)
    seen = []
    for data in tqdm(loader, desc="calibrate", unit="batch"):
        inputs = detector.data_preprocessor(data, False)["inputs"]
        output = detector.fuse(detector.extract_feat(inputs))
        seen.append(output.verdict.contradictions)
    said = torch.cat(seen)
    before = gate.false_alarms(said)
    gate.calibrate(said)
    return {"before": before, "after": gate.false_alarms(said)}
