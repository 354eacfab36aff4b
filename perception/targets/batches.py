"""From what a data loader yields to what an attack takes, for every adapter."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from mmdet.structures import DetDataSample

from perception.attacks.batch import AttackBatch
from perception.core.structures import DataError
from perception.models.preprocessor import MultiModalPreprocessor


def frame_batch(
    preprocessor: MultiModalPreprocessor,
    data: Mapping[str, Any],
    ids: Sequence[int] | None = None,
    *,
    labelled: bool = True,
) -> AttackBatch:
    """The batch of some frames.

    Args:
        preprocessor: Knows the sensors; pads, stacks and draws.
        data: ``inputs`` and ``data_samples`` as collated by the data loader.
        ids: Numbers of the frames; default: made of their names (``frame_id``), so
            that a frame fares the same in any batch.
        labelled: Whether frames need labels: for attacks they do, corruptions without
            a judgement of the loss can do without.

    Raises:
        DataError: If a frame has no labels and needs some.
        ValueError: If there are not as many ids as frames.
    """
    data = preprocessor.cast_data(data)
    packed = preprocessor(data, False)
    samples = packed["data_samples"]
    for sample in samples:
        if labelled and "gt_instances" not in sample:
            raise DataError(
                f"frame {sample.get('frame_id')}: no labels, which attacks need"
            )
    if ids is None:
        ids = [_number(sample, place) for place, sample in enumerate(samples)]
    if len(ids) != len(samples):
        raise ValueError(f"{len(samples)} frames need as many ids, got {len(ids)}")
    return AttackBatch(
        inputs=packed["inputs"],
        raw=data["inputs"],
        samples=samples,
        sensors=preprocessor.sensors,
        ids=list(ids),
    )


def _number(sample: DetDataSample, place: int) -> int:
    """A frame's number from its name; without one from its place in the batch."""
    return zlib.crc32(str(sample.get("frame_id", place)).encode())
