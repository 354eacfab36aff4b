"""The MAITE object-detection protocol, both ways.

MAITE (https://mit-ll-ai-technology.github.io/maite) is a common protocol of test and
evaluation tools. The package need not be installed: protocols are fulfilled, not
inherited.

Shape letters: D detections, K classes, H, W a picture in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from perception.core.structures import DataError
from perception.targets.camera import CameraTarget, Found
from perception.targets.registry import TARGETS


@TARGETS.register_module()
class MaiteTarget(CameraTarget):
    """A MAITE model (``maite.protocols.object_detection.Model``): it predicts.

    Args:
        model: The model. It is shown (3, H, W) float32, as ``picture`` says.
        labels: Names of its classes; None takes ``index2label`` of its metadata.
        settings: As for ``CameraTarget``.

    Raises:
        DataError: If the classes have no names.
    """

    def __init__(
        self, model: Any, *, labels: Sequence[str] | None = None, **settings: Any
    ) -> None:
        if labels is None:
            known = model.metadata.get("index2label")
            if not known:
                raise DataError("the MAITE model has no index2label: give labels")
            labels = [known.get(i, f"class {i}") for i in range(max(known) + 1)]
        super().__init__(labels=labels, **settings)
        self.model = model

    def detect(self, image: Tensor) -> Found:
        """Boxes, scores and labels of (1, 3, H, W)."""
        (found,) = self.model([image[0].cpu().numpy()])
        scores, labels = np.asarray(found.scores), np.asarray(found.labels)
        if scores.ndim == 2:  # of every class; the label is the best one
            scores = scores.max(axis=1, initial=0.0)
        return np.asarray(found.boxes), scores, labels


@dataclass(frozen=True)
class MaiteDetections:
    """``maite.protocols.object_detection.ObjectDetectionTarget``.

    Attributes:
        boxes: (D, 4) x0, y0, x1, y1 in pixels.
        labels: (D,) numbers of classes.
        scores: (D,).
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


class MaiteModel:
    """A target of a single camera as a MAITE model of RGB pictures in grey levels.

    Args:
        target: One of ours or of somebody else, with its ``preprocessor``.
        name: Its ``id``.

    Raises:
        DataError: If the target has other sensors: MAITE's data are single pictures.
    """

    def __init__(self, target: Any, name: str = "oddfusion") -> None:
        specs = list(target.sensors.values())
        if len(specs) != 1 or specs[0].kind != "image":
            raise DataError(
                f"a MAITE model sees one picture, the target has {list(target.sensors)}"
            )
        self.target, self.sensor = target, specs[0].name
        self.metadata: Mapping[str, Any] = {
            "id": name,
            "index2label": dict(enumerate(target.classes)),
        }

    def __call__(self, batch: Sequence[Any]) -> list[MaiteDetections]:
        """Detections in each picture (3, H, W)."""
        pictures = [torch.as_tensor(np.array(one)) for one in batch]
        samples = []
        for number, picture in enumerate(pictures):
            size = tuple(picture.shape[1:])
            told = {"img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0)}
            samples.append(DetDataSample(metainfo={"frame_id": str(number), **told}))
        data = {"inputs": {self.sensor: pictures}, "data_samples": samples}
        packed = self.target.preprocessor(data, False)
        said = self.target.predict(packed["inputs"], packed["data_samples"])
        return [self._detections(one.detections) for one in said]

    def _detections(self, found: Any) -> MaiteDetections:
        numbers = {name: number for number, name in enumerate(self.target.classes)}
        labels = np.array([numbers[name] for name in found.names], dtype=np.int64)
        return MaiteDetections(found.boxes_px, labels, found.scores)
