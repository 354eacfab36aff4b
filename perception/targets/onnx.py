"""Detectors as ONNX files, run by onnxruntime: they predict and do nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from mmcv.ops import batched_nms
from torch import Tensor

from perception.core.structures import DataError
from perception.models.onnx_runtime import open_session
from perception.targets.camera import CameraTarget, Found
from perception.targets.functions import function_of
from perception.targets.registry import TARGETS

Decode = Callable[[Sequence[np.ndarray], tuple[int, int]], Found]
"""From the model's outputs and its input's (H, W) to what it finds."""


@TARGETS.register_module()
class OnnxTarget(CameraTarget):
    """An ONNX model of one picture (1, 3, H, W); its fixed size is the default size.

    Args:
        path: The ``.onnx`` file.
        decode: From outputs to boxes, or its name ``module:function``; see
            ``perception.targets.onnx_outputs``.
        nms_overlap: Of two boxes of a class that overlap more, the better one stays;
            None: the model has done so itself.
        score_threshold: Detections below it are dropped.
        settings: As for ``CameraTarget``.

    Raises:
        DataError: If onnxruntime is not installed, or the file is not such a model.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        decode: Decode | str = "perception.targets.onnx_outputs:ready",
        nms_overlap: float | None = None,
        score_threshold: float = 0.01,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.session = open_session(path)
        self.path, self.nms_overlap = path, nms_overlap
        self.score_threshold = score_threshold
        self.decode = function_of(decode) if isinstance(decode, str) else decode

    def detect(self, image: Tensor) -> Found:
        """Boxes, scores and labels of (1, 3, H, W)."""
        (wanted,) = self.session.get_inputs()
        size = tuple(image.shape)
        if any(
            isinstance(w, int) and w != s
            for w, s in zip(wanted.shape, size, strict=True)
        ):
            raise DataError(
                f"{self.path}: wants {wanted.shape}, shown {list(size)}: give picture "
                "its size, and fill if it keeps the ratio"
            )
        outputs = self.session.run(None, {wanted.name: image.cpu().numpy()})
        columns = self.decode(outputs, (size[2], size[3]))
        boxes, scores, labels = (torch.as_tensor(np.array(c)) for c in columns)
        keep = scores >= self.score_threshold
        boxes, scores, labels = boxes[keep].float(), scores[keep].float(), labels[keep]
        if self.nms_overlap is None or not len(boxes):
            return boxes, scores, labels
        nms = {"type": "nms", "iou_threshold": self.nms_overlap}
        _, kept = batched_nms(boxes, scores, labels, nms)
        return boxes[kept], scores[kept], labels[kept]
