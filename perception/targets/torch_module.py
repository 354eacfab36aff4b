"""Plain PyTorch detectors with torchvision's convention.

``module([picture])`` gives ``[{"boxes", "scores", "labels"}]`` in eval mode;
``module([picture], [{"boxes", "labels"}])`` a dict of losses in training mode, the only
one in which it does. https://docs.pytorch.org/vision/stable/models.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from perception.models.modes import giving_losses, in_eval_mode
from perception.targets.camera import Found
from perception.targets.pictures import PictureFormat
from perception.targets.registry import TARGETS
from perception.targets.trainable import TrainableCameraTarget


@TARGETS.register_module()
class TorchDetectorTarget(TrainableCameraTarget):
    """A module that follows torchvision's convention.

    Args:
        module: The detector.
        picture: What it wants to be shown; by default RGB from 0 to 1, of any size.
        trains: See :func:`giving_losses`; for detectors whose own code drops something
            at random in training mode.
        settings: As for ``CameraTarget``; torchvision's ``labels`` begin with the
            background's name.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        picture: PictureFormat | None = None,
        trains: Callable[[nn.Module], bool] | None = None,
        **settings: Any,
    ) -> None:
        picture = picture or PictureFormat(std=255.0)
        super().__init__(module, picture=picture, **settings)
        self.trains = trains

    def detect(self, image: Tensor) -> Found:
        """Boxes, scores and labels of (1, 3, H, W)."""
        with in_eval_mode(self.module):
            (found,) = self.module([image[0]])
        return found["boxes"], found["scores"], found["labels"]

    def loss(self, image: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """The sum of the module's losses."""
        with giving_losses(self.module, self.trains):
            terms = self.module([image[0]], [{"boxes": boxes, "labels": labels}])
        return torch.stack([term.sum() for term in terms.values()]).sum()
