"""Detectors of one picture that others made and that give losses in PyTorch.

Shape letters: N frames, G objects; H, W the detector's input in pixels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from perception.attacks.target import Frames, Inputs
from perception.models.modes import without_weight_gradients
from perception.targets.camera import CameraTarget


class TrainableCameraTarget(CameraTarget):
    """One that also gives losses, computed in PyTorch.

    Args:
        module: The detector.
        settings: As for :class:`CameraTarget`.
    """

    def __init__(self, module: nn.Module, **settings: Any) -> None:
        super().__init__(**settings)
        self.module = module.to(self.device).eval()

    @abstractmethod
    def loss(self, image: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """The whole training loss on one frame, a scalar.

        Args:
            image: (1, 3, H, W) input of the detector.
            boxes: (G, 4) true boxes in its pixels.
            labels: (G,) numbers of its classes.
        """

    def frozen(self) -> AbstractContextManager[None]:
        """Parameters without gradients."""
        return without_weight_gradients(self.module)

    def losses(self, inputs: Inputs, frames: Frames) -> Tensor:
        """(N,) training loss of each frame by itself, differentiable in the inputs."""
        return torch.stack([self.loss(*one) for one in self._taught(inputs, frames)])

    def _taught(
        self, inputs: Inputs, frames: Frames
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        first = torch.tensor(self._first, device=self.device)
        for image, frame, scale in self.shown(inputs, frames):
            truth = frame.gt_instances
            factor = truth.bboxes.new_tensor(scale).repeat(2)
            yield image, truth.bboxes * factor, first[truth.labels]
