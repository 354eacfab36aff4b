"""One batch of frames as an attack sees it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from perception.core.structures import SensorSpec

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class AttackBatch:
    """Clean inputs of N frames.

    Attributes:
        inputs: For each sensor (N, C, H, W) in physical units, what the model sees.
        raw: For each sensor the N tensors it was made from: images, or points
            (P, 3 + F).
        samples: N samples with ground truth and projections.
        sensors: What each sensor's channels hold.
        ids: (N,) number of each frame, different ones in a run; random draws are
            seeded by it, so that they do not depend on how frames are batched.
        memo: What threat models derived from these frames, so that it is not
            computed at every step.
    """

    inputs: Mapping[str, Tensor]
    raw: Mapping[str, Sequence[Tensor]]
    samples: Sequence[DetDataSample]
    sensors: Mapping[str, SensorSpec]
    ids: Sequence[int]
    memo: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.samples)

    def sizes(self, sensor: str) -> list[tuple[int, int]]:
        """N sizes (h, w) of a sensor's inputs without padding: pixels, or points."""
        if self.sensors[sensor].is_table:
            return [(len(points), 1) for points in self.raw[sensor]]
        if self.sensors[sensor].kind == "array":
            height, width = self.inputs[sensor].shape[-2:]
            return [(height, width)] * len(self)
        return [sample.img_shape[:2] for sample in self.samples]

    def repeat(self, times: int) -> AttackBatch:
        """The batch ``times`` times over, restart after restart."""
        if times == 1:
            return self
        return AttackBatch(
            {k: v.repeat(times, 1, 1, 1) for k, v in self.inputs.items()},
            {k: list(v) * times for k, v in self.raw.items()},
            list(self.samples) * times,
            self.sensors,
            list(self.ids) * times,
        )

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` returns, computed once for these frames and this key."""
        if key not in self.memo:
            self.memo[key] = make()
        found: T = self.memo[key]
        return found

    def outside_inference(self) -> AttackBatch:
        """The batch in tensors that autograd takes.

        Those made within ``torch.inference_mode`` are copied; without any, this is the
        batch itself.
        """
        tensors = [*self.inputs.values(), *(t for r in self.raw.values() for t in r)]
        if any(isinstance(one, Tensor) and one.is_inference() for one in tensors):
            with torch.inference_mode(False):
                return replace(deepcopy(replace(self, memo={})), sensors=self.sensors)
        return self

    def select(self, frames: Sequence[int]) -> AttackBatch:
        """The batch of some of its frames, in the order given."""
        index = list(frames)
        return AttackBatch(
            {name: value[index] for name, value in self.inputs.items()},
            {name: [value[n] for n in index] for name, value in self.raw.items()},
            [self.samples[n] for n in index],
            self.sensors,
            [self.ids[n] for n in index],
        )
