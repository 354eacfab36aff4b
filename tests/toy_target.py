"""The least that can be attacked: logistic regression on any sensors, no detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from perception.core.structures import Objects, Prediction, SensorSpec


class ToyTarget:
    """Says how likely an object is; true if the sensors show more than usual.

    Args:
        sensors: What it has.
        usual: For each sensor the mean value at which it is undecided.
    """

    classes = ("Car",)

    def __init__(
        self, sensors: Mapping[str, SensorSpec], usual: Mapping[str, float]
    ) -> None:
        self.sensors, self.usual = sensors, usual

    def logit(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(N,) log-odds of an object."""
        each = [inputs[n].flatten(1).mean(dim=1) / u - 1 for n, u in self.usual.items()]
        return 4 * torch.stack(each).sum(dim=0)

    def predict(self, inputs: Mapping[str, Tensor], frames: Any) -> list[Prediction]:
        """One box with the probability as its score."""
        box = np.array([[0.0, 0.0, 4.0, 4.0]])
        scores = self.logit(inputs).sigmoid().tolist()
        cars = np.array(["Car"], dtype=object)
        return [
            Prediction(Objects.from_boxes(cars, box, np.array([s]))) for s in scores
        ]

    def losses(self, inputs: Mapping[str, Tensor], frames: Any) -> Tensor:
        """(N,) cross-entropy; every frame shows an object."""
        return F.softplus(-self.logit(inputs))
