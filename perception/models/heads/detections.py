"""What dense heads detect, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.structures import InstanceData

from perception.core.structures import Objects


def as_objects(
    instances: InstanceData | Mapping[str, Any], classes: Sequence[str]
) -> Objects:
    """The detections of one frame.

    Args:
        instances: ``bboxes`` (D, 4) in pixels, ``scores`` (D,), ``labels`` (D,), of
            heads such as FCOS3DHead also ``boxes_3d`` (D, 7).
        classes: Names of the labels.
    """
    boxes_px, scores, labels = (
        np.asarray(instances[name].detach().cpu())
        for name in ("bboxes", "scores", "labels")
    )
    space = instances.get("boxes_3d")
    return Objects.from_boxes(
        np.array(classes, dtype=object)[labels],
        boxes_px,
        scores,
        None if space is None else np.asarray(space.detach().cpu()),
    )
