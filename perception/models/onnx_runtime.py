"""An exported detector, run by onnxruntime in the place of the one it was made of.

Shape letters: N frames, C channels, H, W input size in pixels, L locations, K classes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.ops import batched_nms
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from perception.core.checkpoints import local_file
from perception.core.dependencies import require_extra
from perception.core.files import replacing
from perception.core.structures import DataError
from perception.models.detector import MultiModalDetector

Arrays = Mapping[str, np.ndarray]


class OnnxDetector(nn.Module):
    """Predicts as a detector does, from the boxes and scores of its exported graph.

    Args:
        detector: Which was exported: it prepares inputs and says how to suppress.
        path: The ``.onnx`` file, of maps, with decoded boxes.

    Raises:
        DataError: If onnxruntime is not installed, the file is not usable, or it takes
            and gives other things.
    """

    def __init__(self, detector: MultiModalDetector, path: str | os.PathLike) -> None:
        super().__init__()
        self.detector, self.session = detector, open_session(path)
        given = [one.name for one in self.session.get_inputs()]
        told = [one.name for one in self.session.get_outputs()]
        if given != list(detector.sensors) or not {"boxes", "scores"} <= set(told):
            raise DataError(
                f"{path}: takes {', '.join(given)} and gives {', '.join(told)}; "
                f"expected maps of {', '.join(detector.sensors)}, boxes and scores"
            )
        self.path, self.outputs = path, told

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The graph's outputs by their names, of {sensor: (N, C, H, W)}.

        Raises:
            DataError: If the graph refuses the inputs, for example for their size.
        """
        arrays = {name: np.ascontiguousarray(x.numpy()) for name, x in inputs.items()}
        try:
            found = self.session.run(None, arrays)
        except Exception as error:  # onnxruntime's own, of several kinds
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{self.path}: cannot be run ({reason})") from error
        values = map(torch.from_numpy, found)
        return dict(zip(self.outputs, values, strict=True))

    @torch.no_grad()
    def test_step(self, data: dict[str, Any]) -> list[DetDataSample]:
        """As the detector's, what a data loader yields to samples with predictions."""
        packed = self.detector.data_preprocessor(data, False)
        samples = list(packed["data_samples"])
        found = self.run(packed["inputs"])
        for n, sample in enumerate(samples):
            sample.pred_instances = self._suppressed(
                found["boxes"][n], found["scores"][n], sample
            )
            for name in ("gate", "alarm"):
                if name in found:
                    sample.set_field(found[name][n], name, dtype=Tensor)
            if "gate" in found:
                sample.set_metainfo({"gate_names": tuple(self.detector.sensors)})
        return samples

    def _suppressed(
        self, boxes: Tensor, scores: Tensor, sample: DetDataSample
    ) -> InstanceData:
        """What is left of (L, 4) boxes and (L, K) scores, in the original's pixels."""
        config = self.detector.bbox_head.test_cfg
        location, label = (scores > 0).nonzero(as_tuple=True)
        height, width = sample.img_shape[:2]
        edges = boxes.new_tensor([width, height, width, height])
        boxes = torch.minimum(boxes[location], edges)
        factors = boxes.new_tensor(sample.scale_factor).repeat(2)
        chosen = scores[location, label]
        kept, order = batched_nms(boxes / factors, chosen, label, dict(config.nms))
        most = config.max_per_img
        return InstanceData(
            bboxes=kept[:most, :4], scores=kept[:most, 4], labels=label[order[:most]]
        )


def open_session(path: str | os.PathLike) -> Any:
    """An onnxruntime session on the CPU, with as many threads as torch has.

    Raises:
        DataError: If onnxruntime is not installed or the file is no usable model.
    """
    onnxruntime = require_extra("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    file = local_file(path)
    try:
        return onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own, of several kinds
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not a usable ONNX model ({reason})") from error


def halve(path: str | os.PathLike) -> None:
    """Weights and arithmetic of an ONNX file in float16, inputs and outputs as before.

    A CPU gains memory by it, not time.
    """
    onnx = require_extra("onnx", "onnx")
    float16 = require_extra("onnxruntime.transformers.float16", "onnx")
    model = onnx.load(str(path))
    kept = [*float16.DEFAULT_OP_BLOCK_LIST, "NonMaxSuppression", "ScatterElements"]
    model = float16.convert_float_to_float16(
        model, keep_io_types=True, op_block_list=kept
    )
    with replacing(Path(path)) as temporary:
        onnx.save(model, str(temporary))


def quantize(path: str | os.PathLike, batches: Iterable[Arrays]) -> None:
    """Convolutions of an ONNX file in int8, calibrated on inputs (static, QDQ).

    Args:
        path: The file; replaced.
        batches: Inputs of the graph, of clean frames.
    """
    quantization = require_extra("onnxruntime.quantization", "onnx")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        """Hands out the batches one by one."""

        def __init__(self, arrays: Sequence[Arrays]) -> None:
            self._left: Iterator[Arrays] = iter(arrays)

        def get_next(self) -> dict[str, np.ndarray] | None:
            one = next(self._left, None)
            return None if one is None else dict(one)

    with replacing(Path(path)) as temporary:
        quantization.quantize_static(
            str(path),
            str(temporary),
            Reader(list(batches)),
            per_channel=True,
            op_types_to_quantize=["Conv"],
        )
