"""Small files of trained weights, each with a card that says where they come from."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch

from perception.core.checkpoints import as_safetensors
from perception.core.files import replacing
from perception.core.structures import DataError
from perception.evaluation.robustness.results import (
    DetectorResult,
    Results,
    read_results,
)
from perception.evaluation.robustness.tables import NOTE, ap, starred, table
from perception.models.loading import load_detector


def publish(
    config_file: str | os.PathLike,
    checkpoint: str | os.PathLike,
    out: str | os.PathLike,
    *,
    command: str,
    results: str | os.PathLike | None = None,
) -> str:
    """Write weights as half-precision ``.safetensors`` and a card beside them.

    The same checkpoint always gives the same bytes, so figures measured with the file
    stay true when its card is written anew.

    Args:
        config_file: The detector's config.
        checkpoint: Its checkpoint, ``.pth`` or ``.safetensors``.
        out: The ``.safetensors`` file; the card takes its name with ``.md``.
        command: How the checkpoint was made, for the card.
        results: A ``robustness.json`` measured with ``out``, for the card.

    Returns:
        The SHA-256 of the file.

    Raises:
        DataError: If the checkpoint is not the config's detector, or ``results`` do not
            speak of ``out``.
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise DataError(f"{out}: weights are published as .safetensors")
    detector = load_detector(config_file, checkpoint)
    weights = {
        name: value.half() if value.is_floating_point() else value
        for name, value in detector.state_dict().items()
    }
    content = as_safetensors(weights)
    digest = hashlib.sha256(content).hexdigest()
    figures: list[str] = []  # nothing is replaced if the results do not fit
    if results is not None:
        figures = _figures(*_entry(Path(results), digest))
    with replacing(out) as temporary:
        temporary.write_bytes(content)
    count = sum(parameter.numel() for parameter in detector.parameters())
    lines = [
        f"# {out.stem}",
        "",
        f"* Config: `{config_file}`, {count / 1e6:.2f} M weights, half precision",
        f"* SHA-256: `{digest}`",
        f"* Made by: `{command}`",
        f"* PyTorch {torch.__version__.split('+')[0]}",
        *figures,
    ]
    with replacing(out.with_suffix(".md")) as temporary:
        Path(temporary).write_text("\n".join(lines) + "\n")
    return digest


def _entry(path: Path, digest: str) -> tuple[Results, DetectorResult]:
    """Results, and those of the weights with this SHA-256."""
    results = read_results(path)
    for detector in results.detectors:
        if detector.checkpoint_sha256 == digest:
            return results, detector
    raise DataError(f"{path}: no figures of the weights {digest[:12]}")


def _figures(results: Results, detector: DetectorResult) -> list[str]:
    """Lines of the card about what was measured."""
    where = "; ".join(map(str, results.environments)) or "unknown"
    attacks = detector.attacks.values()
    rows = [["clean", ap(detector.clean_mean)]]
    rows += [[one.name, starred(one)] for one in attacks]
    lines = [
        f"* Measured by: `{results.run.command}`",
        f"* Measured on: {where}",
        "",
        f"Mean AP (percent, {results.scoring.headline}, R40) on "
        f"{len(results.frame_ids)} unseen frames:",
        "",
        *table(["inputs", "mean AP"], rows),
    ]
    return [*lines, "", NOTE] if any(one.ineffective for one in attacks) else lines
