"""Small files of trained weights, each with a card that says where they come from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from perception.core.checkpoints import as_safetensors
from perception.core.files import replacing
from perception.core.provenance import told
from perception.core.structures import DataError
from perception.evaluation.robustness.figures import in_vain
from perception.evaluation.robustness.tables import NOTE, STAR
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
    figures = None if results is None else _figures(Path(results), digest)
    with replacing(out) as temporary:  # nothing is replaced if the results do not fit
        temporary.write_bytes(content)
    count = sum(parameter.numel() for parameter in detector.parameters())
    lines = _card(out.stem, config_file, command, digest, count, figures)
    with replacing(out.with_suffix(".md")) as temporary:
        Path(temporary).write_text("\n".join(lines) + "\n")
    return digest


def _figures(results: Path, digest: str) -> Mapping[str, Any]:
    """The entry of the file with this SHA-256 in a ``robustness.json``."""
    try:
        content = json.loads(results.read_text())
        for entry in content["detectors"]:
            if entry["checkpoint_sha256"] == digest:
                frames = len(content["frame_ids"])
                kind = content["scoring"]["headline"]
                where = content["environment"].get("made_on", ())
                run = {
                    "run": content["command"],
                    "frames": frames,
                    "kind": kind,
                    "made_on": "; ".join(map(told, where)) or "unknown",
                }
                return dict(entry) | run
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{results}: not results of tools/robustness.py ({type(error).__name__})"
        ) from error
    raise DataError(f"{results}: no figures of the weights {digest[:12]}")


def _card(
    name: str,
    config_file: str | os.PathLike,
    command: str,
    digest: str,
    parameters: int,
    figures: Mapping[str, Any] | None,
) -> list[str]:
    """Lines of a Markdown card."""
    lines = [
        f"# {name}",
        "",
        f"* Config: `{config_file}`, {parameters / 1e6:.2f} M weights, half precision",
        f"* SHA-256: `{digest}`",
        f"* Made by: `{command}`",
        f"* PyTorch {torch.__version__.split('+')[0]}",
    ]
    if figures is None:
        return lines
    lines += [
        f"* Measured by: `{figures['run']}`",
        f"* Measured on: {figures['made_on']}",
        "",
        f"Mean AP (percent, {figures['kind']}, R40) on {figures['frames']} "
        "unseen frames:",
        "",
        "| inputs | mean AP |",
        "|---|---|",
        f"| clean | {_ap(figures['clean'])} |",
    ]
    measured = {a: entry for a, entry in figures["attacks"].items() if "ap" in entry}
    vain = {attack for attack, entry in measured.items() if in_vain(entry)}
    for attack, entry in measured.items():
        star = STAR if attack in vain else ""
        lines.append(f"| {attack} | {_ap(entry['ap']['attacked'])}{star} |")
    return [*lines, "", NOTE] if vain else lines


def _ap(result: Mapping[str, Any]) -> str:
    """Mean AP of a result; frames without any object have none."""
    value = result["headline"]["mAP"]
    return "–" if value is None else f"{value:.1f}"
