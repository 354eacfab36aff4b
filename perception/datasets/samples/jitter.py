"""Augmentation of arrays: a little earlier or aside, a little stronger, a little noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from perception.core.structures import Frame


@TRANSFORMS.register_module()
@dataclass(kw_only=True)
class JitterArray(BaseTransform):
    """Shift, scale and blur one sensor's array with noise, at random.

    Attributes:
        sensor: Whose.
        shift: Largest shift in rows and in columns; what leaves on one side comes back
            on the other.
        scale: Largest relative change of all values.
        noise: Standard deviation of what is added to each value, in its unit.
    """

    sensor: str
    shift: tuple[int, int] = (0, 0)
    scale: float = 0.0
    noise: float = 0.0

    def transform(self, results: dict) -> dict:
        """The frame with that array changed."""
        frame: Frame = results["frame"]
        rng: np.random.Generator = results["rng"]
        array = frame.sensors[self.sensor]
        rows, columns = (int(rng.integers(-s, s + 1)) for s in self.shift)
        array = np.roll(array, (rows, columns), axis=(0, 1))
        array = array * (1 + rng.uniform(-self.scale, self.scale))
        if self.noise:
            array = array + rng.normal(0, self.noise, array.shape)
        sensors = dict(frame.sensors) | {self.sensor: array.astype(np.float32)}
        return results | {"frame": replace(frame, sensors=sensors)}
