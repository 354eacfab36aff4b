"""A detector of two sensors and the past as a target, frame by frame of a drive.

The past is one more input, so that attacks on the present frame leave it alone to the
bit, as they do any other sensor. It is that of the frames as the data set has them:
benign. Whoever lets an attacker drag it along passes pasts of its own to
:meth:`HistoryTarget.with_pasts`, see :mod:`perception.evaluation.drives`.

Shape letters: N frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from perception.attacks.batch import AttackBatch
from perception.core.parts import LeaveOut
from perception.core.structures import DataError, Prediction
from perception.datasets.frame_dataset import FrameDataset
from perception.datasets.loading import build_loader
from perception.datasets.timeline import Predecessor
from perception.models.consensus.history import Motion, Past
from perception.models.history_detector import (
    PAST,
    HistoryDetector,
    HistoryOutput,
)
from perception.models.modes import in_eval_mode
from perception.targets.batches import frame_batch
from perception.targets.multimodal import DetectorTarget, read_prediction


class HistoryTarget(DetectorTarget):
    """A ``HistoryDetector`` as a target, whose batches bring their benign past along.

    Args:
        detector: In eval mode.
    """

    def __init__(self, detector: HistoryDetector) -> None:
        super().__init__(detector)
        self._dataset: FrameDataset | None = None
        self._pasts: dict[int, Past | None] = {}

    def follow(self, dataset: FrameDataset) -> None:
        """Take pasts from this data set, whose numbers batches' ids then are."""
        self._dataset, self._pasts = dataset, {}

    def batch(
        self, data: Mapping[str, Any], ids: Sequence[int] | None = None
    ) -> AttackBatch:
        """As :func:`frame_batch`, with the benign past of each frame.

        Raises:
            DataError: If it follows no data set, or frames come without numbers.
        """
        if self._dataset is None or ids is None:
            raise DataError("a history needs the data set and its frames' numbers")
        made = frame_batch(self.preprocessor, data, ids)
        pasts = [
            self.carried(number, self._before(number), sample)
            for number, sample in zip(ids, made.samples, strict=True)
        ]
        return self.with_pasts(made, pasts)

    def with_pasts(
        self, batch: AttackBatch, pasts: Sequence[Past | None]
    ) -> AttackBatch:
        """A batch with the pasts of its frames, carried into them."""
        height, width = batch.samples[0].batch_input_shape
        locations = sum((height // s) * (width // s) for s in self.detector.strides)
        packed = [self.detector.packed(past, locations) for past in pasts]
        return replace(
            batch,
            inputs={**batch.inputs, PAST: torch.stack(packed)},
            raw={**batch.raw, PAST: packed},
            sensors=self.sensors,
        )

    def carried(self, number: int, past: Past | None, sample: Any) -> Past | None:
        """A past after the frame before ``number``, carried into that frame."""
        before = self._previous(number)
        if before is None:
            return None
        motion = Motion(
            seconds=before.seconds,
            image_P_cam=sample.image_P_cam,
            now_T_before=before.now_T_before,
        )
        return self.detector.carried(past, motion)

    @torch.no_grad()
    def seen(
        self,
        inputs: Mapping[str, Any],
        samples: Sequence[Any],
        leave_out: LeaveOut | None = None,
    ) -> HistoryOutput:
        """What the detector says, in eval mode."""
        with in_eval_mode(self.detector):
            pyramids = self.detector.extract_feat(inputs)
            output: HistoryOutput = self.detector.fuse(pyramids, leave_out, samples)
            output.outputs, output.remembered  # while heads are in eval mode  # noqa: B018
        return output

    def written(
        self, output: HistoryOutput, samples: Sequence[Any]
    ) -> list[Prediction]:
        """The predictions of an output of :meth:`seen`."""
        with in_eval_mode(self.detector):
            done = self.detector.written(output, samples)
        return [read_prediction(sample, self.classes) for sample in done]

    def renewed(
        self, carried: Past | None, output: HistoryOutput, n: int, number: int
    ) -> Past | None:
        """The past after frame ``number``, the n-th of an output of :meth:`seen`."""
        before = self._previous(number)
        seconds = 0.1 if before is None else before.seconds
        with in_eval_mode(self.detector):
            return self.detector.renewed(carried, output, n, seconds)

    def _previous(self, number: int) -> Predecessor | None:
        if self._dataset is None:
            raise DataError("a history needs a data set to follow")
        frames: Any = self._dataset.frames
        found: Predecessor | None = frames.previous(number)
        return found

    def _before(self, number: int) -> Past | None:
        """The past after the frame before ``number``, from its drive's first on."""
        missing, before = [], self._previous(number)
        while before is not None and before.number not in self._pasts:
            missing.append(before.number)
            before = self._previous(before.number)
        assert self._dataset is not None
        for one in reversed(missing):
            (data,) = build_loader(self._dataset, [one])
            batch = frame_batch(self.preprocessor, data, [one], labelled=False)
            last = self._previous(one)
            past = None if last is None else self._pasts[last.number]
            carried = self.carried(one, past, batch.samples[0])
            batch = self.with_pasts(batch, [carried])
            output = self.seen(batch.inputs, batch.samples)
            self._pasts[one] = self.renewed(carried, output, 0, one)
        before = self._previous(number)
        return None if before is None else self._pasts[before.number]
