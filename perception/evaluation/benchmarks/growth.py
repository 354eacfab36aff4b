"""How time and memory grow: with frames, image size, sensors and points.

Shape letters: N frames, H, W input size in pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS

from perception.core.config import load_config
from perception.evaluation.benchmarks.fusion_speed import inference
from perception.evaluation.benchmarks.raster_speed import (
    random_cloud,
    raster_candidates,
)
from perception.evaluation.benchmarks.timing import Timed
from perception.models.loading import compute_in_float32

SIZES = ((96, 320), (192, 640), (384, 1248))
FRAMES = (1, 2, 4)
SENSORS = range(2, 7)
POINTS = (30_000, 100_000, 300_000)


def compare_growth(
    configs: Mapping[str, str | os.PathLike], *, device: str = "cpu"
) -> Iterator[tuple[str, Timed]]:
    """What to time: detectors with random weights at growing sizes, and points drawn.

    Args:
        configs: Config files by the names of the detectors.
        device: Where they run.

    Yields:
        A title and the candidates, the smallest first.
    """
    compute_in_float32()
    first = SIZES[0]
    for name, file in configs.items():
        model = load_config(file).model
        # Who is compromised takes three sensors to tell.
        counts = SENSORS if model.get("aggregator") is None else SENSORS[1:]
        detector = _build(model, device)
        yield (
            f"{name}: frames at once, {first[1]}x{first[0]}",
            {str(n): _call(detector, n, first) for n in FRAMES},
        )
        sizes = {f"{w}x{h}": _call(detector, 1, (h, w)) for h, w in SIZES}
        yield f"{name}: image size, 1 frame", sizes
        yield (
            f"{name}: sensors, 1 frame of {first[1]}x{first[0]}",
            {
                str(count): _call(_build(_of_sensors(file, count), device), 1, first)
                for count in counts
            },
        )
    yield "points drawn, 1242x375", {str(count): _drawing(count) for count in POINTS}


def compare_at(
    configs: Mapping[str, str | os.PathLike], size: tuple[int, int], *, device: str
) -> tuple[str, Timed]:
    """Detectors with random weights on one frame of (H, W), the reference first."""
    compute_in_float32()
    return f"forward, 1 frame of {size[1]}x{size[0]}", {
        name: _call(_build(load_config(file).model, device), 1, size)
        for name, file in configs.items()
    }


def _build(model: Any, device: str) -> Any:
    torch.manual_seed(0)
    return MODELS.build(model).eval().to(device)


def _of_sensors(file: str | os.PathLike, count: int) -> Any:
    """A config's model with so many sensors: its own, in turn and again."""
    model = load_config(Path(file)).model
    names = list(model.branches)
    chosen = [names[i % len(names)] for i in range(count)]
    sensors = model.data_preprocessor.sensors
    model.branches = {f"{n}_{i}": model.branches[n] for i, n in enumerate(chosen)}
    model.data_preprocessor.sensors = {
        f"{n}_{i}": sensors[n] for i, n in enumerate(chosen)
    }
    return model


def _call(detector: Any, frames: int, size: tuple[int, int]) -> Any:
    device = next(detector.parameters()).device
    inputs = {
        sensor: torch.rand(frames, len(spec.channels), *size).to(device)
        for sensor, spec in detector.sensors.items()
    }
    return partial(inference, detector, inputs)


def _drawing(count: int) -> Any:
    size = (375, 1242)
    cloud = random_cloud(np.random.default_rng(0), count, 0.6, size)
    return raster_candidates(*cloud, size)["torch"]
