"""One batch of frames as an attack sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmdet.structures import DetDataSample
from torch import Tensor

from perception.structures import SensorSpec


@dataclass(frozen=True)
class AttackBatch:
    """Clean inputs of N frames.

    Attributes:
        inputs: For each sensor (N, C, H, W) in physical units, what the model sees.
        raw: For each sensor the N tensors it was made from: images, or points
            (P, 3 + F).
        samples: N samples with ground truth and projections.
        sensors: What each sensor's channels hold.
        ids: (N,) number of each frame in the whole run; random draws are seeded by
            it, so that they do not depend on how frames are batched.
    """

    inputs: Mapping[str, Tensor]
    raw: Mapping[str, Sequence[Tensor]]
    samples: Sequence[DetDataSample]
    sensors: Mapping[str, SensorSpec]
    ids: Sequence[int]

    def __len__(self) -> int:
        return len(self.samples)

    def repeat(self, times: int) -> AttackBatch:
        """The batch ``times`` times over, restart after restart."""
        return AttackBatch(
            {k: v.repeat(times, 1, 1, 1) for k, v in self.inputs.items()},
            {k: list(v) * times for k, v in self.raw.items()},
            list(self.samples) * times,
            self.sensors,
            list(self.ids) * times,
        )


def prepare_batch(
    detector: Any, data: Mapping[str, Any], ids: Sequence[int] | None = None
) -> AttackBatch:
    """From what a data loader yields to what an attack needs.

    Args:
        detector: A ``MultiModalDetector``.
        data: ``inputs`` and ``data_samples`` as collated by the data loader.
        ids: Numbers of the frames; default 0 … N - 1.
    """
    data = detector.data_preprocessor.cast_data(data)
    packed = detector.data_preprocessor(data, False)
    samples = packed["data_samples"]
    return AttackBatch(
        inputs=packed["inputs"],
        raw=data["inputs"],
        samples=samples,
        sensors=detector.sensors,
        ids=list(range(len(samples))) if ids is None else list(ids),
    )
