"""Export a detector and show that the file does what the detector does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from perception.core.config import load_config
from perception.core.structures import DataError
from perception.datasets.loading import build_dataset, build_loader
from perception.evaluation.benchmarks.timing import interleaved, own_clock
from perception.evaluation.robustness.spec import ExportRun
from perception.models.export import ExportedGraph, GraphSpec, export_onnx
from perception.models.loading import load_detector
from perception.models.onnx_runtime import halve, open_session, quantize

TOLERANCE = 1e-3
"""Largest difference from PyTorch's outputs, relative to those beyond 1."""
_CALIBRATION_FRAMES = 32


@dataclass(frozen=True)
class Exported:
    """What came of it.

    Attributes:
        inputs: For each input its shape, as the file tells it.
        outputs: The same of the outputs.
        megabytes: Size of the file.
        difference: Largest difference from PyTorch's outputs on real frames, relative
            to those beyond 1; None if none were compared.
        torch_ms: Milliseconds of one frame in PyTorch, None as above.
        onnx_ms: The same by onnxruntime, with as many threads.
    """

    inputs: Mapping[str, list]
    outputs: Mapping[str, list]
    megabytes: float
    difference: float | None = None
    torch_ms: float | None = None
    onnx_ms: float | None = None


def run_export(run: ExportRun) -> Exported:
    """Write the file and compare it with the detector.

    Raises:
        DataError: If the detector cannot be exported so, there are no frames to check
            it on, or, in float32, an output is off by more than the tolerance.
    """
    config = load_config(run.detector.config, run.detector.cfg_options)
    detector = load_detector(config, run.detector.checkpoint)
    size = run.size
    dataset: Any = None
    first: Any = None
    if size is None or run.check:
        dataset = build_dataset(config, "test")
        first = next(iter(build_loader(dataset, [0])))
        (sample,) = detector.data_preprocessor(first)["data_samples"]
        size = size or sample.batch_input_shape
    spec = GraphSpec(size=size, points=run.points, boxes=run.boxes)
    graph = ExportedGraph(detector, spec)
    export_onnx(detector, run.out, spec)
    if run.precision == "float16":
        halve(run.out)
    elif run.precision == "int8":
        training = build_dataset(config, "train")
        training.pipeline = build_dataset(config, "test").pipeline  # not augmented
        frames = range(min(_CALIBRATION_FRAMES, len(training)))
        batches = build_loader(training, frames, batch_size=1)
        quantize(run.out, (_arrays(graph, data) for data in batches))
    session = open_session(run.out)
    found = Exported(
        inputs={one.name: list(one.shape) for one in session.get_inputs()},
        outputs={one.name: list(one.shape) for one in session.get_outputs()},
        megabytes=Path(run.out).stat().st_size / 1e6,
    )
    if not run.check:
        return found
    frames = range(min(run.check, len(dataset)))
    given = [_arrays(graph, data) for data in build_loader(dataset, frames)]
    worst = max(_difference(graph, session, arrays) for arrays in given)
    if run.precision == "float32" and not worst <= TOLERANCE:
        raise DataError(
            f"{run.out}: differs from PyTorch by {worst:.2g} on {len(frames)} test "
            f"frames, more than {TOLERANCE:g}"
        )
    one = _arrays(graph, first)
    tensors = [torch.from_numpy(one[name]) for name in graph.inputs]
    with torch.no_grad():
        torch_ms = _best_ms(lambda: graph(*tensors))
    onnx_ms = _best_ms(lambda: session.run(None, one))
    return Exported(
        found.inputs, found.outputs, found.megabytes, worst, torch_ms, onnx_ms
    )


def _arrays(graph: ExportedGraph, data: dict[str, Any]) -> dict[str, np.ndarray]:
    """The graph's inputs of what a data loader yields."""
    preprocessor = graph.detector.data_preprocessor
    data = preprocessor.cast_data(data)
    clouds: dict[str, list[Tensor]] = {n: data["inputs"][n] for n in graph.drawn}
    packed = preprocessor(data, False)
    found = {name: packed["inputs"][name] for name in graph.detector.sensors}
    for name, frames in clouds.items():
        numbered = [
            torch.cat([torch.full((len(one), 1), float(n)), one.float()], dim=1)
            for n, one in enumerate(frames)
        ]
        found[name] = torch.cat(numbered)
        projections = [s.projections[name] for s in packed["data_samples"]]
        found[f"{name}_projection"] = torch.stack(
            [torch.as_tensor(one).float() for one in projections]
        )
    return {name: np.ascontiguousarray(found[name].numpy()) for name in graph.inputs}


@torch.no_grad()
def _difference(
    graph: ExportedGraph, session: Any, arrays: Mapping[str, np.ndarray]
) -> float:
    """Largest difference of what file and detector say, relative beyond 1."""
    expected = graph(*[torch.from_numpy(arrays[name]) for name in graph.inputs])
    given = session.run(graph.outputs, dict(arrays))
    worst = 0.0
    for want, got in zip(expected, map(torch.from_numpy, given), strict=True):
        off = (want - got).abs() / want.abs().clamp(min=1)
        worst = max(worst, float(off.nan_to_num(torch.inf).max()))
    return worst


def _best_ms(ask: Callable[[], Any], times: int = 10) -> float:
    """Least of several times, in milliseconds, after one that does not count."""
    return interleaved({"": ask}, times, own_clock("cpu"))[""].min() * 1e3
