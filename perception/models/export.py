"""A detector as one graph of tensors, written as an ONNX file.

Shape letters: N frames, S sensors, P points of all frames, F feature columns, C
channels, H, W input size in pixels, L locations (or anchors) of all pyramid levels, K
classes, M boxes left by the suppression.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from perception.core.dependencies import require_extra
from perception.core.files import replacing
from perception.core.structures import DataError, SensorSpec
from perception.models.detector import MultiModalDetector
from perception.models.heads.outputs import HeadOutputs
from perception.models.late_fusion import LateFusionDetector
from perception.models.modes import in_eval_mode
from perception.models.rasterize import NEAR_PLANE_M, point_values, project_row

Boxes = Literal["raw", "decoded", "nms"]
_OPSET = 18  # the first whose ScatterElements knows a minimum


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """What the graph takes and gives.

    Attributes:
        size: (H, W) of all inputs in pixels, a multiple of what the detector pads to.
        points: Whether it draws point sensors itself: ``SENSOR`` is then (P, 1 + 3 + F)
            with the frame's number first, ``SENSOR_projection`` (N, 3, 4); otherwise
            ``SENSOR`` is the (N, C, H, W) map that the preprocessor makes.
        boxes: ``raw`` is the head's outputs, ``KIND_LEVEL``; ``decoded`` adds up to
            ``boxes`` (N, L, 4) in pixels of the input and ``scores`` (N, L, K), boxes
            in metres are left to ``raw``;
            ``nms`` also says which of them non-maximum suppression leaves:
            ``selected`` (M, 3), each a frame, a class and a location.
    """

    size: tuple[int, int]
    points: bool = False
    boxes: Boxes = "decoded"


class ExportedGraph(nn.Module):
    """What is traced: tensors in the order of :attr:`inputs` to those of ``outputs``.

    With a gate the last outputs are ``gate`` (N, S + 1) probabilities and, where it
    tells an alarm without a sensor, ``alarm`` (N,), above 0 if there is one.

    Args:
        detector: In eval mode.
        spec: What it takes and gives.

    Raises:
        DataError: If the detector cannot be exported so.
    """

    def __init__(self, detector: MultiModalDetector, spec: GraphSpec) -> None:
        super().__init__()
        divisor = detector.data_preprocessor.pad_size_divisor
        if any(side % divisor for side in spec.size):
            raise DataError(
                f"size {spec.size} must be a multiple of {divisor}, to which the "
                "detector pads"
            )
        if isinstance(detector, LateFusionDetector):
            raise DataError("the vote of late fusion over boxes is not exported")
        self.detector, self.spec = detector, spec
        self.outputs: list[str] = []

    @property
    def drawn(self) -> list[str]:
        """Sensors whose points the graph draws."""
        if not self.spec.points:
            return []
        sensors = self.detector.sensors.items()
        return [
            name for name, one in sensors if one.kind == "points" and not one.pillar_m
        ]

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs, in order."""
        extra = [f"{name}_projection" for name in self.drawn]
        return [*self.detector.sensors, *extra]

    def examples(self) -> tuple[Tensor, ...]:
        """Two frames of random inputs, within the sensors' ranges."""
        source = torch.Generator().manual_seed(0)
        found = []
        for name, one in self.detector.sensors.items():
            if name in self.drawn:
                cloud = torch.rand(64, 1 + len(one.columns), generator=source)
                cloud[:, 0] = torch.arange(64) // 32
                found.append(cloud)
                continue
            low, high = (
                torch.tensor([getattr(c, end) for c in one.channels]).view(-1, 1, 1)
                for end in ("low", "high")
            )
            share = torch.rand(2, len(one.channels), *self.spec.size, generator=source)
            found.append(low + share * (high - low))
        height, width = self.spec.size
        camera = [[width / 2, 0, width / 2, 0], [0, width / 2, height / 2, 0]]
        projection = torch.tensor([*camera, [0, 0, 1, 0]], dtype=torch.float32)
        return (*found, *(projection.repeat(2, 1, 1) for _ in self.drawn))

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        given = dict(zip(self.inputs, values, strict=True))
        detector = self.detector
        maps = {
            name: draw_frames(
                given[name], given[f"{name}_projection"], spec, self.spec.size
            )
            if name in self.drawn
            else given[name]
            for name, spec in detector.sensors.items()
        }
        output = detector.fuse(detector.extract_feat(maps))
        named = self._boxes(output.outputs)
        if output.gate_logits is not None:
            gate = output.gate_logits.softmax(dim=1)
            named["gate"] = gate.mean(dim=(2, 3)) if gate.ndim == 4 else gate
        if output.alarm is not None:
            named["alarm"] = output.alarm
        self.outputs = list(named)
        return tuple(named.values())

    def _boxes(self, outputs: HeadOutputs) -> dict[str, Tensor]:
        if self.spec.boxes == "raw":
            return {
                f"kind{k}_level{n}": level
                for k, kind in enumerate(outputs)
                for n, level in enumerate(kind)
            }
        boxes, scores = decode(self.detector.bbox_head, outputs, self.spec.size)
        return {"boxes": boxes, "scores": scores}


def decode(
    head: Any, outputs: HeadOutputs, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Boxes (N, L, 4) in pixels of the input, within it, and scores (N, L, K).

    As MMDetection's dense heads decode before non-maximum suppression: a class score
    that is not above the head's threshold is 0, the others are multiplied by the
    centre-ness, if the head has one.

    Raises:
        DataError: If the head's class scores are not independent of each other.
    """
    if not getattr(head, "use_sigmoid_cls", False):
        raise DataError(f"{type(head).__name__} has no sigmoid scores: use boxes=raw")
    classes, sides, *factors = outputs[:3]  # behind them are boxes in metres
    sizes = [(int(level.shape[-2]), int(level.shape[-1])) for level in classes]
    priors = torch.cat(head.prior_generator.grid_priors(sizes, device=sides[0].device))

    def flat(levels: Sequence[Tensor], width: int) -> Tensor:
        rows = [
            x.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, width)) for x in levels
        ]
        return torch.cat(rows, dim=1)

    moved = flat(sides, 4)
    count, width = priors.shape  # points, or anchors
    every = priors + moved[..., :width].clamp(0, 0)  # a trace keeps N free so
    boxes = head.bbox_coder.decode(every.reshape(-1, width), moved.reshape(-1, 4))
    boxes = boxes.reshape(-1, int(count), 4)
    edges = boxes.new_tensor([size[1], size[0]] * 2)
    boxes = torch.minimum(boxes.clamp(min=0), edges)
    scores = flat(classes, head.cls_out_channels).sigmoid()
    scores = torch.where(scores > head.test_cfg.score_thr, scores, 0.0)
    for levels in factors:
        scores = scores * flat(levels, 1).sigmoid()
    return boxes, scores


def draw_frames(
    points: Tensor, projections: Tensor, spec: SensorSpec, size: tuple[int, int]
) -> Tensor:
    """(N, C, H, W) maps of the points of N frames, as ``draw_points`` draws each.

    By a minimum over depths and one over indices, which ONNX can express, in place of
    one over both.

    Args:
        points: (P, 1 + 3 + F) frame number, x, y, z in metres in the sensor's frame,
            features.
        projections: (N, 3, 4) sensor coordinates to pixels.
        spec: Of the sensor.
        size: (H, W) in pixels.
    """
    height, width = size
    frame = points[:, 0].long()
    columns = points[:, 1:].unbind(dim=1)
    rows = projections.index_select(0, frame).permute(1, 2, 0)  # (3, 4, P)
    u, v, depth_m = (project_row(columns, rows[i]) for i in range(3))
    column, row = (u / depth_m + 0.5).floor(), (v / depth_m + 0.5).floor()
    inside = (depth_m > NEAR_PLANE_M) & (depth_m <= spec.max_depth_m)
    inside = inside & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    cells = projections.shape[0] * height * width
    row, column = (torch.where(inside, x, 0.0).long() for x in (row, column))
    own = (frame * height + row) * width + column
    cell = torch.where(inside, own, cells)  # one more for what is not drawn
    far = torch.full((1,), torch.inf).to(depth_m).expand(cells + 1)
    nearest_m = far.scatter_reduce(0, cell, depth_m, "amin")
    count = points.shape[0]
    numbers = torch.arange(count, device=points.device)
    wins = inside & (depth_m == nearest_m.index_select(0, cell))
    cell = torch.where(wins, cell, cells)
    none = torch.ones(1, dtype=torch.long, device=points.device) * count
    first = none.expand(cells + 1).scatter_reduce(0, cell, numbers, "amin")[:-1]
    names = [channel.name for channel in spec.channels]
    values = torch.stack(point_values(columns, depth_m, spec.columns, names))
    values = torch.cat([values, values.new_zeros(len(names), 1)], dim=1)
    drawn = values.index_select(1, first).view(len(names), -1, height, width)
    return drawn.transpose(0, 1)


def export_onnx(
    detector: MultiModalDetector, path: str | os.PathLike, spec: GraphSpec
) -> None:
    """Write a detector as an ONNX file; the number of frames is free.

    Args:
        detector: Its mode is restored.
        path: The file; written whole or not at all.
        spec: What the graph takes and gives.

    Raises:
        DataError: If the detector cannot be exported so, or onnx is not installed.
    """
    require_extra("onnx", "onnx")
    graph = ExportedGraph(detector, spec)
    examples = graph.examples()
    with in_eval_mode(detector), torch.no_grad(), _quiet():
        graph(*examples)  # tells the names of the outputs
        frames = {
            name: {0: "points" if name in graph.drawn else "frames"}
            for name in graph.inputs
        }
        frames |= {name: {0: "frames"} for name in graph.outputs}
        with replacing(Path(path)) as temporary:
            torch.onnx.export(
                graph,
                examples,
                str(temporary),
                input_names=graph.inputs,
                output_names=graph.outputs,
                dynamic_axes=frames,
                opset_version=_OPSET,
                # TorchScript's: the newer one needs onnxscript and takes eight times
                # as long for the same graph.
                dynamo=False,
            )
            if spec.boxes == "nms":
                _add_suppression(temporary, detector.bbox_head.test_cfg)


def _add_suppression(path: Path, test_cfg: Any) -> None:
    """Append ONNX's own non-maximum suppression, class by class."""
    import onnx  # an extra: only who exports needs it
    from onnx import TensorProto, helper

    model = onnx.load(str(path))
    graph = model.graph
    nms = test_cfg.nms
    constants = {
        "nms_most": (TensorProto.INT64, int(test_cfg.max_per_img)),
        "nms_iou": (TensorProto.FLOAT, float(nms.iou_threshold)),
        "nms_score": (TensorProto.FLOAT, 0.0),
    }
    for name, (kind, value) in constants.items():
        graph.initializer.append(helper.make_tensor(name, kind, [1], [value]))
    by_class = helper.make_node(
        "Transpose", ["scores"], ["scores_by_class"], perm=[0, 2, 1]
    )
    chosen = helper.make_node(
        "NonMaxSuppression", ["boxes", "scores_by_class", *constants], ["selected"]
    )
    graph.node.extend([by_class, chosen])
    graph.output.append(
        helper.make_tensor_value_info("selected", TensorProto.INT64, ["boxes_left", 3])
    )
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


@contextmanager
def _quiet() -> Iterator[None]:
    """A trace keeps sizes and types on purpose; torch warns of each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", module=r"torch\.onnx")
        yield
