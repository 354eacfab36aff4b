"""A target as an estimator of the Adversarial Robustness Toolbox (ART).

So ART's attacks run on a detector of several sensors: on one of them, the other
sensors' inputs belong to the model. https://adversarial-robustness-toolbox.org

Shape letters: N frames, C channels, H, W input in pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from perception.attacks.batch import AttackBatch
from perception.attacks.target import Target, frozen
from perception.core.structures import DataError


def art_estimator(target: Target, batch: AttackBatch, sensor: str) -> Any:
    """The target as ART wants it: the loss gradient of one sensor's input.

    Its attacks take ``batch.inputs[sensor]`` as an array (N, C, H, W) and, for labels,
    the numbers of the frames in the batch: ``generate(x, np.arange(len(batch)))``.

    Args:
        target: One with ``losses``.
        batch: The clean frames: truth, and the other sensors.
        sensor: The attacked one.

    Raises:
        DataError: If ART is not installed.
    """
    try:
        # Here for start-up time: it takes seconds, and is optional.
        from art.estimators import BaseEstimator, LossGradientsMixin
    except ImportError as error:
        raise DataError(
            "needs the adversarial-robustness-toolbox: pip install -e '.[dev]'"
        ) from error
    channels = batch.sensors[sensor].channels
    device = batch.inputs[sensor].device

    class Estimator(LossGradientsMixin, BaseEstimator):
        def __init__(self) -> None:
            super().__init__(model=target, clip_values=None)
            # Its check of limits wants two numbers; np.clip takes one per channel.
            limits = [[[[c.low]] for c in channels], [[[c.high]] for c in channels]]
            self._clip_values = tuple(np.array(one, np.float32) for one in limits)

        @property
        def input_shape(self) -> tuple[int, ...]:
            return tuple(batch.inputs[sensor].shape[1:])

        def fit(self, x: np.ndarray, y: Any, **kwargs: Any) -> None:
            raise NotImplementedError("a target is trained elsewhere")

        def predict(self, x: np.ndarray, **kwargs: Any) -> list[Any]:
            """N predictions of the batch's frames."""
            return list(target.predict(self._inputs(batch, x), batch.samples))

        def loss_gradient(self, x: np.ndarray, y: Any, **kwargs: Any) -> np.ndarray:
            """(N, C, H, W) of the frames with the numbers ``y``."""
            chosen = batch.select([int(number) for number in y])
            with frozen(target), torch.enable_grad():
                inputs = self._inputs(chosen, x)
                image = inputs[sensor].requires_grad_()
                loss = target.losses(inputs, chosen.samples).sum()  # type: ignore[attr-defined]
                (gradient,) = torch.autograd.grad(loss, image)
            found: np.ndarray = gradient.cpu().numpy()
            return found

        @staticmethod
        def _inputs(frames: AttackBatch, x: np.ndarray) -> dict[str, torch.Tensor]:
            return {**frames.inputs, sensor: torch.from_numpy(x.copy()).to(device)}

    return Estimator()
