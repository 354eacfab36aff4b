"""From what the data loader delivers to the tensors a detector sees.

Pads, stacks and rasterises; never normalises, so that everything downstream of it,
attacks included, works in physical units. Each branch normalises for itself.

Shape letters: N frames, C channels, H, W padded image size in pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from perception.core.structures import DataError, SensorSpec
from perception.models.rasterize import draw_points, padded


@MODELS.register_module()
class MultiModalPreprocessor(BaseDataPreprocessor):
    """Turns lists of frames into one (N, C, H, W) tensor per sensor.

    Args:
        sensors: For each sensor the mapping that ``SensorSpec.from_config`` reads,
            in the order that the whole model uses.
        pad_size_divisor: Height and width are padded with zeros (no return) on the
            right and at the bottom to multiples of it.
    """

    def __init__(
        self, sensors: Mapping[str, Mapping], *, pad_size_divisor: int = 32
    ) -> None:
        super().__init__()
        self.pad_size_divisor = pad_size_divisor
        self.sensors = {
            name: SensorSpec.from_config(name, config)
            for name, config in sensors.items()
        }

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """Rasterise, pad and stack one batch; one already stacked is left as it is.

        Args:
            data: ``inputs``: for each sensor a list of N tensors, ``image``,
                ``depth`` and ``array`` sensors (C, H, W), the last all of one size,
                ``points`` (P, 3 + F); and ``data_samples``: N samples with
                ``img_shape`` and, for points, ``projections`` ({sensor: (3, 4) sensor
                coordinates to pixels}).
            training: Unused; augmentation belongs to the data pipeline.

        Returns:
            ``inputs``: {sensor: (N, C, H, W) float32 in physical units} and the
            ``data_samples`` with ``batch_input_shape`` set.

        Raises:
            DataError: If a frame lacks a sensor; names the frame.
        """
        data = self.cast_data(data)
        if all(isinstance(value, Tensor) for value in data["inputs"].values()):
            return data
        samples: Sequence[DetDataSample] = data["data_samples"]
        shape = self._padded_shape(samples)
        for sample in samples:
            sample.set_metainfo({"batch_input_shape": shape, "pad_shape": shape})
        inputs = {}
        for name, spec in self.sensors.items():
            values = self._of_sensor(data["inputs"], name, samples)
            images = [
                self._image(spec, *one) for one in zip(values, samples, strict=True)
            ]
            longest = max(image.shape[1] for image in images)
            room = (longest, 1) if spec.is_table else shape
            if spec.kind == "array":
                height, width = images[0].shape[-2:]
                room = (height, width)
            inputs[name] = torch.stack([padded(image, room) for image in images])
        return {"inputs": inputs, "data_samples": samples}

    def _padded_shape(self, samples: Sequence[DetDataSample]) -> tuple[int, int]:
        d = self.pad_size_divisor
        height = max(sample.img_shape[0] for sample in samples)
        width = max(sample.img_shape[1] for sample in samples)
        return -(-height // d) * d, -(-width // d) * d

    def _of_sensor(
        self, inputs: Mapping, name: str, samples: Sequence[DetDataSample]
    ) -> Sequence[Tensor]:
        values = inputs.get(name, [None] * len(samples))
        for value, sample in zip(values, samples, strict=True):
            if value is None:
                raise DataError(
                    f"frame {sample.frame_id}: no {name} data, which this detector "
                    "needs; leave the frame out of the split or use a detector "
                    f"without a {name} branch"
                )
        return values

    @staticmethod
    def _image(spec: SensorSpec, value: Tensor, sample: DetDataSample) -> Tensor:
        """(C, H, W) float32 image of one frame's raw sensor value."""
        if spec.kind != "points":
            return value.float()
        projection = torch.as_tensor(sample.projections[spec.name])
        return draw_points(value, spec, projection, sample.img_shape[:2])


def restricted_to(data_preprocessor: dict, branches: Mapping[str, dict]) -> dict:
    """The preprocessor's config with the sensors of the branches, in their order."""
    described = data_preprocessor["sensors"]
    unknown = [name for name in branches if name not in described]
    if unknown:
        raise ValueError(
            f"branches {unknown} have no entry in data_preprocessor.sensors, which "
            f"describes {list(described)}"
        )
    config = copy.deepcopy(data_preprocessor)
    config["sensors"] = {name: described[name] for name in branches}
    return config
