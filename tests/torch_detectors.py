"""A detector by somebody else: plain PyTorch, torchvision's convention, its traps.

It gives losses in training mode only, where batch norm and dropout would be felt;
its losses are means over the batch; it wants letterboxed BGR from 0 to 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LABELS = ("background", "automobile", "person", "bicycle")
NAMES = {"Car": ["automobile"], "Pedestrian": ["person"], "Cyclist": ["bicycle"]}
STRIDE = 8


class GridDetector(nn.Module):
    """Says for each cell of 8 x 8 pixels which class is centred there, and how large.

    Args:
        detached: Planted fault: cuts the gradient to the picture.
        noisy: Planted fault: draws random numbers whenever it is asked.
    """

    def __init__(self, *, detached: bool = False, noisy: bool = False) -> None:
        super().__init__()
        self.detached, self.noisy = detached, noisy
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=4, padding=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 5, padding=2),
            nn.ReLU(),
            nn.Dropout(0.2),
        )
        self.head = nn.Conv2d(32, len(LABELS) + 4, 1)

    def forward(self, images: list[Tensor], targets: list[dict] | None = None):
        images = torch.stack(images)
        if self.detached:
            images = images.detach()
        if self.noisy:
            images = images + 0.1 * torch.randn_like(images)
        maps = self.head(self.body(images - 0.3))
        logits, sizes = maps[:, : len(LABELS)], maps[:, len(LABELS) :]
        if self.training:
            return self._losses(logits, sizes, targets)
        return [self._found(*one) for one in zip(logits, sizes, strict=True)]

    def _losses(self, logits: Tensor, sizes: Tensor, targets: list[dict]) -> dict:
        wanted = torch.zeros_like(logits[:, 0], dtype=torch.long)
        boxes = torch.zeros(())
        for n, target in enumerate(targets):
            for box, label in zip(target["boxes"], target["labels"], strict=True):
                x, y = ((box[:2] + box[2:]) / 2 / STRIDE).long().tolist()
                wanted[n, y, x] = label
                there = box / STRIDE - torch.tensor([x, y, x, y])
                boxes = boxes + (sizes[n, :, y, x] - there).abs().sum()
        weight = torch.tensor([0.2, 1.0, 1.0, 1.0])
        classes = F.cross_entropy(logits, wanted, weight)  # a mean over the batch
        return {"classes": classes, "boxes": 0.1 * boxes / len(targets)}

    @staticmethod
    def _found(logits: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        scores, labels = logits.softmax(dim=0)[1:].max(dim=0)
        y, x = (scores > 0.05).nonzero().T
        boxes = sizes[:, y, x].T + torch.stack([x, y, x, y], dim=1)
        return {
            "boxes": boxes * STRIDE,
            "scores": scores[y, x],
            "labels": labels[y, x] + 1,
        }
