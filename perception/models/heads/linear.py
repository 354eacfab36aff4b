"""A linear classifier that behaves as a dense head with one location.

Shape letters: N samples, K classes, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor, nn

from perception.models.heads.outputs import HeadOutputs
from perception.models.pyramid import Pyramid


@MODELS.register_module()
class LinearHead(BaseModule):
    """Which of K classes a sample is, from one level of features without a size.

    Its only kind of outputs are logarithms of probabilities, which the predictions of
    different sensors have in common number by number; logits are free up to a constant,
    so that intervals of them would say nothing.

    Args:
        num_classes: K.
        in_channels: C.
        label_smoothing: Of the training loss.
        train_cfg: Unused, as every head is given one.
        test_cfg: Unused.
        init_cfg: MMEngine initialisation config.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        label_smoothing: float = 0.0,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.cls_out_channels = num_classes
        self.label_smoothing = label_smoothing
        self.linear = nn.Conv2d(in_channels, num_classes, 1)

    def forward(self, pyramid: Pyramid) -> HeadOutputs:
        """One level (N, C, 1, 1) to logarithms of probabilities (N, K, 1, 1)."""
        return ([self.linear(level).log_softmax(dim=1) for level in pyramid],)

    def loss_by_feat(
        self,
        outputs: Sequence[Tensor],
        truth: Sequence[InstanceData],
        metas: Sequence[dict],
        ignored: Sequence[InstanceData | None] | None = None,
    ) -> dict[str, Tensor]:
        """Cross-entropy, the mean over the samples."""
        return {"loss_cls": self.frame_losses((list(outputs),), truth).mean()}

    def frame_losses(
        self, outputs: HeadOutputs, truth: Sequence[InstanceData]
    ) -> Tensor:
        """(N,) cross-entropy of each sample, whose class is its first object's."""
        ((logits,),) = outputs
        labels = torch.stack([one.labels[0] for one in truth]).to(logits.device)
        return F.cross_entropy(
            logits.flatten(1),
            labels,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )

    def predict_by_feat(
        self,
        outputs: Sequence[Tensor],
        batch_img_metas: Sequence[dict],
        rescale: bool = True,
    ) -> list[InstanceData]:
        """The likeliest class of each sample and its probability, as one object.

        Its box is the whole sample.
        """
        scores, labels = outputs[0].flatten(1).softmax(dim=1).max(dim=1)
        shapes = [meta["ori_shape"] for meta in batch_img_metas]
        boxes = scores.new_tensor([[[0, 0, w, h]] for h, w in shapes])
        return [
            InstanceData(bboxes=box, scores=score[None], labels=label[None])
            for box, score, label in zip(boxes, scores, labels, strict=True)
        ]
