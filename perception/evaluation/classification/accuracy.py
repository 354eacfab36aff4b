"""Accuracy: the share of samples whose likeliest class is the right one.

Shape letters: N samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric

from perception.core.structures import Objects


def hits(truth: Sequence[Objects], found: Sequence[Objects]) -> np.ndarray:
    """(N,) whether each sample's likeliest object has the first true one's name."""
    return np.array(
        [
            said.scores is not None
            and len(said) > 0
            and said.names[np.argmax(said.scores)] == real.names[0]
            for real, said in zip(truth, found, strict=True)
        ]
    )


@METRICS.register_module()
class AccuracyMetric(BaseMetric):
    """``top1`` in percent, and ``top1_CLASS`` of the samples of each class.

    NaN for a class without samples. Each data sample has ``pred_instances``, of which
    the one of the highest score counts, and the metainfo ``objects``.
    """

    default_prefix = "accuracy"

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep each sample's class and whether it was found."""
        assert self.dataset_meta is not None
        classes = np.array(self.dataset_meta["classes"], dtype=object)
        for sample in data_samples:
            instances = sample["pred_instances"]
            found = Objects.from_boxes(
                classes[instances["labels"].cpu().numpy()],
                instances["bboxes"].cpu().numpy(),
                instances["scores"].cpu().numpy(),
            )
            right = hits([sample["objects"]], [found])[0]
            self.results.append((sample["objects"].names[0], bool(right)))

    def compute_metrics(self, results: list[tuple[str, bool]]) -> dict[str, float]:
        """Of all samples."""
        assert self.dataset_meta is not None
        figures = {"top1": 100 * float(np.mean([right for _, right in results]))}
        for name in self.dataset_meta["classes"]:
            own = [right for label, right in results if label == name]
            figures[f"top1_{name}"] = 100 * float(np.mean(own)) if own else np.nan
        return figures
