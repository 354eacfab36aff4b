"""Augmentation of arrays: moved, turned, stronger, noisy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
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
        turn_deg: Largest angle by which vectors of three channels are turned about an
            axis of any direction: a sensor is never worn twice in the same way.
        warp: Largest shift in time, in columns, of a smooth change of pace.
    """

    sensor: str
    shift: tuple[int, int] = (0, 0)
    scale: float = 0.0
    noise: float = 0.0
    turn_deg: float = 0.0
    warp: float = 0.0

    def transform(self, results: dict) -> dict:
        """The frame with that array changed."""
        frame: Frame = results["frame"]
        rng: np.random.Generator = results["rng"]
        array = frame.sensors[self.sensor]
        rows, columns = (int(rng.integers(-s, s + 1)) for s in self.shift)
        array = np.roll(array, (rows, columns), axis=(0, 1))
        if self.warp:
            array = _warped(array, rng.uniform(-self.warp, self.warp, 2))
        if self.turn_deg:
            axis = rng.normal(size=3)
            angle = np.radians(rng.uniform(-self.turn_deg, self.turn_deg))
            array = array @ cv2.Rodrigues(angle * axis / np.linalg.norm(axis))[0]
        array = array * (1 + rng.uniform(-self.scale, self.scale))
        if self.noise:
            array = array + rng.normal(0, self.noise, array.shape)
        sensors = dict(frame.sensors) | {self.sensor: array.astype(np.float32)}
        return results | {"frame": replace(frame, sensors=sensors)}


def _warped(array: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """(H, T, C) with its moments moved by sums of sines, both ends staying."""
    moments = array.shape[1]
    part = np.linspace(0, np.pi, moments)
    at = np.arange(moments) + shifts[0] * np.sin(part) + shifts[1] * np.sin(2 * part)
    at = at.clip(0, moments - 1)
    low = np.minimum(at.astype(int), moments - 2)
    weight = (at - low)[:, None]
    return array[:, low] * (1 - weight) + array[:, low + 1] * weight
