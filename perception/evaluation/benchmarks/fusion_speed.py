"""How fast whole detectors are with one fusion neck or another.

Shape letters: N frames, H, W input size in pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from mmdet.registry import MODELS
from torch import Tensor

from perception.core.config import load_config
from perception.evaluation.benchmarks.timing import Timed, wait_for
from perception.models.loading import compute_in_float32


def compare_fusion(
    configs: Mapping[str, str | os.PathLike],
    *,
    frames: int,
    size: tuple[int, int],
    device: str = "cpu",
) -> Iterator[tuple[str, Timed]]:
    """What to time: detectors with random weights, forward, then backward as well.

    Args:
        configs: Config files by the names of the candidates, the reference first.
        frames: N.
        size: (H, W).
        device: Where they run.

    Yields:
        A title and the candidates.

    Raises:
        DataError: If a config cannot be used.
    """
    compute_in_float32()
    forward: Timed = {}
    backward: Timed = {}
    for name, file in configs.items():
        torch.manual_seed(0)
        detector = MODELS.build(load_config(file).model).eval().to(device)
        inputs = {
            sensor: torch.rand(frames, len(spec.channels), *size).to(device)
            for sensor, spec in detector.sensors.items()
        }
        forward[name] = partial(inference, detector, inputs)
        backward[name] = partial(gradient, detector, inputs)
    yield "forward", forward
    yield "forward and backward to the weights", backward


def inference(detector: Any, inputs: Mapping[str, Tensor]) -> object:
    """Raw outputs, without recording a graph."""
    with torch.inference_mode():
        outputs = detector(inputs)
    wait_for(outputs[0][0].device)
    return outputs


def gradient(detector: Any, inputs: Mapping[str, Tensor]) -> None:
    """Gradient of the summed outputs to all weights."""
    detector.zero_grad()
    outputs = detector(inputs)
    sum(level.sum() for kind in outputs for level in kind).backward()
    wait_for(outputs[0][0].device)
