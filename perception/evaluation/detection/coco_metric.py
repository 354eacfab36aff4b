"""COCO's average precision, from the labels that frames carry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmdet.evaluation.metrics import CocoMetric
from mmdet.registry import METRICS

from perception.core.structures import DataError, Objects, class_key


@METRICS.register_module()
class FrameCocoMetric(CocoMetric):
    """MMDetection's ``CocoMetric`` on image boxes, without an annotation file.

    Figures as MMDetection names them: ``coco/bbox_mAP`` (mean over overlaps 0.5 … 0.95
    and classes), ``bbox_mAP_50`` and so on, and ``<class>_precision``. Boxes are those
    of the original image.

    Labels which are too hard become COCO's crowds: detections on them are neither
    right nor wrong.

    Args:
        max_occlusion: Objects occluded more than this need not be found.
        max_truncation: Likewise for truncation.
        classwise: Whether to report each class.
    """

    def __init__(
        self,
        *,
        max_occlusion: int = 2,
        max_truncation: float = 0.8,
        classwise: bool = True,
    ) -> None:
        super().__init__(metric="bbox", classwise=classwise)
        self.max_occlusion, self.max_truncation = max_occlusion, max_truncation

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Hand over each frame's labels the way MMDetection wants them."""
        samples = [
            {**sample, "instances": self._instances(sample["objects"])}
            for sample in data_samples
        ]
        super().process(data_batch, samples)

    def _instances(self, objects: Objects | None) -> list[dict]:
        if objects is None:
            raise DataError("frames have no labels, which AP needs")
        classes = self.dataset_meta["classes"]
        label = {class_key(name): i for i, name in enumerate(classes)}
        hard = np.asarray(objects.occlusion > self.max_occlusion)
        hard |= objects.truncation > self.max_truncation
        return [
            {"bbox": box, "bbox_label": label[key], "ignore_flag": int(ignored)}
            for name, box, ignored in zip(
                objects.names, objects.boxes_px.tolist(), hard, strict=True
            )
            if (key := class_key(name)) in label
        ]
