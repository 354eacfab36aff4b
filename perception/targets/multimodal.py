"""This project's detector as a target: the only place where attacks meet its inside.

Shape letters: N frames, S sensors, L locations of all pyramid levels.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.target import (
    DoesNotApplyError,
    Frames,
    Inputs,
    Response,
    Scores,
)
from perception.core.parts import BranchPrediction, ExpertPrediction, LeaveOut, Part
from perception.core.structures import DataError, Objects, Prediction, SensorSpec
from perception.models.modes import frozen


class DetectorTarget:
    """A ``MultiModalDetector`` as a :class:`~perception.attacks.target.Target`.

    Fulfils every optional step; the features of sensors that an attack leaves alone
    are computed once.

    Args:
        detector: In eval mode, with its ``dataset_meta``.
    """

    def __init__(self, detector: Any) -> None:
        self.detector = detector

    @property
    def sensors(self) -> Mapping[str, SensorSpec]:
        """What each sensor's input tensor holds, in the order of the gate."""
        sensors: Mapping[str, SensorSpec] = self.detector.sensors
        return sensors

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.detector.dataset_meta["classes"])

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        device: torch.device = next(self.detector.parameters()).device
        return device

    @property
    def has_gate(self) -> bool:
        """Whether its fusion says which sensor is compromised."""
        fusion = self.detector.fusion
        return fusion is not None and fusion.has_gate

    @property
    def can_leave_out(self) -> bool:
        """Whether its fusion can be told to leave a sensor out."""
        return bool(self.detector.can_blame)

    def batch(
        self, data: Mapping[str, Any], ids: Sequence[int] | None = None
    ) -> AttackBatch:
        """From what a data loader yields to what an attack needs.

        Args:
            data: ``inputs`` and ``data_samples`` as collated by the data loader.
            ids: Numbers of the frames; default: made of their names (``frame_id``), so
                that a frame fares the same in any batch.

        Raises:
            DataError: If a frame has no labels.
            ValueError: If there are not as many ids as frames.
        """
        preprocessor = self.detector.data_preprocessor
        data = preprocessor.cast_data(data)
        packed = preprocessor(data, False)
        samples = packed["data_samples"]
        for sample in samples:
            if "gt_instances" not in sample:
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
            sensors=self.sensors,
            ids=list(ids),
        )

    @torch.no_grad()
    def predict(
        self, inputs: Inputs, frames: Frames, leave_out: LeaveOut | None = None
    ) -> list[Prediction]:
        """Detections and gate of each frame; what was predicted before is replaced."""
        if leave_out is None:
            samples = self.detector.predict(inputs, frames)
        else:
            with self.detector.fusion.blaming(leave_out.sensor):
                samples = self.detector.predict(inputs, frames)
        return [read_prediction(sample, self.classes) for sample in samples]

    def frozen(self) -> AbstractContextManager[None]:
        """Eval mode, heads for losses, parameters without gradients; restored after."""
        return frozen(self.detector)

    def encode(self, sensor: str, x: Tensor) -> tuple[Tensor, ...]:
        """The pyramid of one sensor's input (N, C, H, W)."""
        pyramid: tuple[Tensor, ...] = self.detector.branches[sensor](x)
        return pyramid

    def respond(
        self,
        features: Mapping[str, Any],
        frames: Frames,
        leave_out: LeaveOut | None = None,
    ) -> Response:
        """What the detector says given the pyramids of all sensors."""
        if leave_out is None:
            fused = self.detector.fuse(features)
        elif not self.can_leave_out:
            raise DoesNotApplyError("the fusion cannot be told to leave a sensor out")
        else:
            with self.detector.fusion.blaming(leave_out.sensor):
                fused = self.detector.fuse(features)
        return _DetectorResponse(self, fused, frames)

    def losses(self, inputs: Inputs, frames: Frames) -> Tensor:
        """(N,) detection loss of each frame, normalised over it alone."""
        return self._of(inputs, frames).losses()

    def scores(self, inputs: Inputs, frames: Frames) -> Scores:
        """Class logits of every location of the pyramid."""
        return self._of(inputs, frames).scores()

    def gate(self, inputs: Inputs) -> Tensor:
        """(N, S + 1) logits; see ``respond`` for a gate per location.

        Raises:
            DoesNotApplyError: If the fusion has no gate.
        """
        logits = self._of(inputs, []).gate_logits
        if logits is None:
            raise DoesNotApplyError("the detector's fusion has no gate")
        return logits

    def _of(self, inputs: Inputs, frames: Frames) -> Response:
        features = {name: self.encode(name, inputs[name]) for name in self.sensors}
        return self.respond(features, frames)


class _DetectorResponse(Response):
    """What one fusion of features says, as far as it is asked."""

    def __init__(self, target: DetectorTarget, fused: Any, frames: Frames) -> None:
        self._detector, self._fused, self._frames = target.detector, fused, frames
        self._target = target
        self.gate_logits, self.alarm = fused.gate_logits, fused.doubt
        if fused.views:
            branches = [BranchPrediction(name) for name in target.sensors]
            left_out = [None, *(target.sensors if fused.experts else ())]
            every = fused.experts or fused.features
            experts = [ExpertPrediction(name) for name in left_out if every]
            self.parts = (*branches, *experts)

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the classes."""
        return self._target.classes

    def losses(self, part: Part | None = None) -> Tensor:
        """(N,) detection losses."""
        self._check(part)
        name = _old_name(part)
        losses: Tensor = self._detector.frame_losses(self._fused, self._frames, name)
        return losses

    def scores(self, part: Part | None = None) -> Scores:
        """Class logits (N, L, K), the best anchor's per location."""
        self._check(part)
        levels = self._detector.head_outputs(self._fused, _old_name(part))[0]
        classes = self._detector.bbox_head.cls_out_channels
        flat, centers = [], []
        height, width = self._frames[0].batch_input_shape
        for level in levels:
            n, _, h, w = level.shape
            flat.append(
                level.reshape(n, -1, classes, h * w).amax(dim=1).transpose(1, 2)
            )
            y = (torch.arange(h, device=level.device) + 0.5) * (height / h)
            x = (torch.arange(w, device=level.device) + 0.5) * (width / w)
            grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
            centers.append(grid.reshape(-1, 2))
        return Scores(torch.cat(flat, dim=1), torch.cat(centers))

    def _check(self, part: Part | None) -> None:
        if part is not None and part not in self.parts:
            raise DoesNotApplyError(f"the detector's fusion combines no {part}")


def _old_name(part: Part | None) -> str | None:
    if isinstance(part, BranchPrediction):
        return part.sensor
    if part is None:
        return None
    return "fused" if part.left_out is None else f"without:{part.left_out}"


def read_prediction(sample: DetDataSample, classes: Sequence[str]) -> Prediction:
    """What a detector wrote on a sample, as plain values."""
    found = sample.pred_instances
    boxes_px, scores, labels = (
        np.asarray(column.detach().cpu())
        for column in (found.bboxes, found.scores, found.labels)
    )
    names = np.array(classes, dtype=object)[labels]
    gate = sample.get("gate")
    return Prediction(
        detections=Objects.from_boxes(names, boxes_px, scores),
        gate=None if gate is None else tuple(gate.detach().cpu().tolist()),
        alarm=None if sample.get("doubt") is None else float(sample.doubt),
    )


def _number(sample: DetDataSample, place: int) -> int:
    """A frame's number from its name; without one from its place in the batch."""
    return zlib.crc32(str(sample.get("frame_id", place)).encode())
