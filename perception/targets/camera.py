"""Detectors of one picture that others made: what their adapters share.

Frames go through the detector one by one: a loss that it averages over its batch is
then each frame's own, and padding to the largest frame of a batch is never seen.

Shape letters: N frames, D detections, G objects; H, W the detector's input in pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.target import Frames, Inputs
from perception.core.structures import Objects, Prediction
from perception.models.preprocessor import MultiModalPreprocessor
from perception.targets.batches import frame_batch
from perception.targets.pictures import PictureFormat

Found = tuple[Any, Any, Any]
"""Boxes (D, 4) x1, y1, x2, y2 in pixels of the detector's input, scores (D,), labels
(D,), as tensors or arrays."""


class CameraTarget(ABC):
    """A detector of one picture that predicts, and maybe nothing else.

    Args:
        labels: The detector's names of its classes, by their numbers.
        classes: For each class of ours the detector's names that mean it, the likeliest
            first: ``{"Car": ("car", "truck")}``. Other detections are dropped. None
            takes the detector's classes as they are.
        picture: What the detector wants to be shown.
        sensor: Name of the camera.
        device: Where it runs.

    Raises:
        ValueError: If the detector has no class of such a name.
    """

    def __init__(
        self,
        *,
        labels: Sequence[str],
        classes: Mapping[str, Sequence[str]] | None = None,
        picture: PictureFormat | None = None,
        sensor: str = "camera",
        device: str | torch.device = "cpu",
    ) -> None:
        self.labels, self.sensor = tuple(labels), sensor
        self.picture, self.device = picture or PictureFormat(), torch.device(device)
        meant = {name: (name,) for name in labels} if classes is None else classes
        self.classes = tuple(meant)
        theirs = {one: ours for ours, names in meant.items() for one in names}
        if unknown := set(theirs) - set(labels):
            raise ValueError(
                f"the detector has no classes {sorted(unknown)}, only {list(labels)}"
            )
        self._ours = [theirs.get(name) for name in labels]
        self._first = [self.labels.index(names[0]) for names in meant.values()]
        channels = [(c, "grey levels", 0.0, 255.0) for c in ("red", "green", "blue")]
        sensors = {sensor: {"kind": "image", "channels": channels}}
        self.preprocessor = MultiModalPreprocessor(sensors).to(self.device)
        self.sensors = self.preprocessor.sensors

    @abstractmethod
    def detect(self, image: Tensor) -> Found:
        """What the detector finds in its input (1, 3, H, W)."""

    def batch(
        self, data: Mapping[str, Any], ids: Sequence[int] | None = None
    ) -> AttackBatch:
        """What a data loader yields as an attack needs it, see :func:`frame_batch`."""
        return frame_batch(self.preprocessor, data, ids)

    @torch.no_grad()
    def predict(self, inputs: Inputs, frames: Frames) -> list[Prediction]:
        """Detections in pixels of the original picture, by our names."""
        return [
            Prediction(self._named(self.detect(image), frame, scale))
            for image, frame, scale in self.shown(inputs, frames)
        ]

    def shown(
        self, inputs: Inputs, frames: Frames
    ) -> Iterator[tuple[Tensor, Any, tuple[float, float]]]:
        """Each frame's input, the frame, and how large x and y are shown."""
        for value, frame in zip(inputs[self.sensor], frames, strict=True):
            height, width = frame.img_shape[:2]  # without padding
            image, scale = self.picture(value[:, :height, :width])
            yield image, frame, scale

    def _named(self, found: Found, frame: Any, scale: tuple[float, float]) -> Objects:
        boxes, scores, labels = (np.asarray(_array(column)) for column in found)
        shrunk = frame.get("scale_factor") or (1.0, 1.0)
        factor = np.multiply(scale, shrunk)
        boxes = boxes.reshape(-1, 4).astype(np.float64) / np.tile(factor, 2)
        height, width = frame.get("ori_shape", frame.img_shape)[:2]
        boxes = boxes.clip(0, [width, height] * 2)
        names = np.array([self._ours[int(label)] for label in labels], dtype=object)
        keep = np.array([name is not None for name in names], dtype=bool)
        return Objects.from_boxes(names, boxes, scores).select(keep)


def _array(column: Any) -> Any:
    return column.detach().cpu() if isinstance(column, Tensor) else column
