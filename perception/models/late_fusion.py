"""Late fusion: every sensor detects by itself, and boxes are kept that enough see.

Shape letters: N frames, S sensors, D detections of a sensor, K kept ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor

from perception.core.parts import LeaveOut
from perception.models.detector import MultiModalDetector
from perception.models.heads.losses import mean_losses
from perception.models.output import DetectorOutput


@MODELS.register_module()
class LateFusionDetector(MultiModalDetector):
    """A baseline without any shared feature: boxes of single sensors and a vote.

    For attacks by gradients, which need losses, the prediction is the median of the
    sensors' outputs at every location: the second highest of three scores is what the
    vote keeps, too. Attack branch predictions (goal ``detection|parts``) as well.

    Args:
        votes: How many sensors must see an object.
        iou_threshold: Overlap from which two sensors see the same one.
        settings: What else :class:`MultiModalDetector` takes; a fusion of type None and
            an aggregator without a gate, which has every sensor detect by itself.

    Raises:
        ValueError: If something is fused, or there are more votes than sensors.
    """

    def __init__(
        self, *, votes: int = 2, iou_threshold: float = 0.5, **settings: Any
    ) -> None:
        super().__init__(**settings)
        if self.fusion is not None or self.aggregator is None or self.has_gate:
            raise ValueError(
                "late fusion fuses no features and asks no gate: fusion.type=None and "
                "an aggregator with gate=None"
            )
        if not 1 <= votes <= len(self.branches):
            raise ValueError(
                f"votes must be 1 to {len(self.branches)}, the sensors, got {votes}"
            )
        self.votes, self.iou_threshold = votes, iou_threshold
        if self.branch_head is not None:
            self.bbox_head.requires_grad_(False)  # it only knows where locations are

    def detection_losses(
        self, output: DetectorOutput, samples: Sequence
    ) -> dict[str, Tensor]:
        """The mean loss of what each sensor detects; no other is learned from."""
        self._check_for_losses()
        frames = list(range(len(samples)))
        return mean_losses(
            self._branch_head,
            output.branches,
            samples,
            frames,
            weight=1.0,
            name="branch",
        )

    def predict(
        self,
        batch_inputs: Mapping[str, Tensor],
        batch_data_samples: Sequence,
        rescale: bool = True,
        leave_out: LeaveOut | None = None,
    ) -> list[DetDataSample]:
        """What enough sensors see, in pixels of the original image if ``rescale``."""
        if self.bbox_head.training:
            raise RuntimeError("heads give boxes in eval mode, not for_losses()")
        samples = list(batch_data_samples)
        output = self.fuse(self.extract_feat(batch_inputs), None, samples)
        head: Any = self._branch_head
        asked = [
            said
            for name, said in zip(output.sensors, output.branches, strict=True)
            if leave_out is None or leave_out.sensor != name
        ]
        found = [
            head.predict_by_feat(
                *said,
                batch_img_metas=[sample.metainfo for sample in samples],
                rescale=rescale,
            )
            for said in asked
        ]
        votes = min(self.votes, len(asked))
        results = [
            voted(sensors, votes=votes, iou_threshold=self.iou_threshold)
            for sensors in zip(*found, strict=True)
        ]
        return list(self.add_pred_to_datasample(samples, results))


def voted(
    found: Sequence[InstanceData], *, votes: int, iou_threshold: float
) -> InstanceData:
    """Detections of one frame that enough sensors see.

    From the highest score down each detection asks every other sensor for its best
    overlapping one of the same class. Where there are enough together, one detection
    is kept: each side of its box is their median, its score that of the ``votes``-th
    highest, which no single sensor can raise above a benign one's.

    Args:
        found: What each of S sensors detects, D ``bboxes``, ``scores``, ``labels``.
        votes: How many must see it.
        iou_threshold: Overlap from which two see the same.

    Returns:
        ``bboxes`` (K, 4), ``scores`` (K,) falling, ``labels`` (K,).
    """
    boxes = torch.cat([one.bboxes for one in found])
    scores = torch.cat([one.scores for one in found])
    labels = torch.cat([one.labels for one in found])
    sensor = torch.cat([torch.full_like(one.labels, n) for n, one in enumerate(found)])
    overlaps = bbox_overlaps(boxes, boxes)
    overlaps[labels[:, None] != labels[None]] = 0
    free = torch.ones_like(labels, dtype=torch.bool)
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    for seed in scores.argsort(descending=True, stable=True).tolist():
        if not free[seed]:
            continue
        members = [seed]
        for n in range(len(found)):
            same = overlaps[seed] * (free & (sensor == n))
            if n != int(sensor[seed]) and len(same) and same.max() >= iou_threshold:
                members.append(int(same.argmax()))
        free[seed] = False
        if len(members) < votes:
            continue
        free[members] = False
        score = scores[members].sort(descending=True).values[votes - 1]
        # An even number has two middles: their mean.
        box = boxes[members].quantile(0.5, dim=0)
        kept.append((box, score, labels[seed]))
    result = InstanceData()
    order = sorted(range(len(kept)), key=lambda k: -float(kept[k][1]))
    result.bboxes = torch.stack([kept[k][0] for k in order]) if kept else boxes[:0]
    result.scores = torch.stack([kept[k][1] for k in order]) if kept else scores[:0]
    result.labels = torch.stack([kept[k][2] for k in order]) if kept else labels[:0]
    return result
