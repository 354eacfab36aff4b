"""This project's detector as a target: the only place where attacks meet its inside.

Shape letters: N frames, S sensors, L locations of all pyramid levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.target import (
    DoesNotApplyError,
    Frames,
    Inputs,
    Reach,
    Response,
    Scores,
)
from perception.core.parts import BranchPrediction, LeaveOut, Part
from perception.core.structures import Prediction, SensorSpec
from perception.models.heads.detections import as_objects
from perception.models.heads.fcos_3d import FCOS3DHead
from perception.models.heads.losses import losses_by_frame
from perception.models.heads.outputs import HeadOutputs
from perception.models.modes import frozen, in_eval_mode
from perception.models.output import DetectorOutput
from perception.models.preprocessor import MultiModalPreprocessor
from perception.targets.batches import frame_batch


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
    def preprocessor(self) -> MultiModalPreprocessor:
        """What makes its inputs of raw frames."""
        preprocessor: MultiModalPreprocessor = self.detector.data_preprocessor
        return preprocessor

    @property
    def has_gate(self) -> bool:
        """Whether it says which sensor is compromised."""
        return bool(self.detector.has_gate)

    @property
    def can_leave_out(self) -> bool:
        """Whether it can be told to leave a sensor out."""
        return bool(self.detector.can_leave_out)

    def batch(
        self, data: Mapping[str, Any], ids: Sequence[int] | None = None
    ) -> AttackBatch:
        """What a data loader yields as an attack needs it, see :func:`frame_batch`."""
        return frame_batch(self.preprocessor, data, ids)

    @torch.no_grad()
    def predict(
        self, inputs: Inputs, frames: Frames, leave_out: LeaveOut | None = None
    ) -> list[Prediction]:
        """Detections and gate of each frame; what was predicted before is replaced."""
        with in_eval_mode(self.detector):  # also within `frozen`, for black-box goals
            samples = self.detector.predict(inputs, frames, leave_out=leave_out)
        return [read_prediction(sample, self.classes) for sample in samples]

    def frozen(self) -> AbstractContextManager[None]:
        """Eval mode, heads for losses, parameters without gradients; restored after."""
        return frozen(self.detector)

    def encode(self, sensor: str, x: Tensor) -> tuple[Tensor, ...]:
        """The pyramid of one sensor's input (N, C, H, W)."""
        pyramid: tuple[Tensor, ...] = self.detector.encode(sensor, x)
        return pyramid

    def respond(
        self,
        features: Mapping[str, Any],
        frames: Frames,
        leave_out: LeaveOut | None = None,
    ) -> Response:
        """What the detector says given the pyramids of all sensors."""
        if leave_out is not None and not self.can_leave_out:
            raise DoesNotApplyError("the fusion cannot be told to leave a sensor out")
        output = self.detector.fuse(features, leave_out, frames)
        return _DetectorResponse(self, output, frames)

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

    def __init__(
        self, target: DetectorTarget, output: DetectorOutput, frames: Frames
    ) -> None:
        self._target, self._output, self._frames = target, output, frames
        self._detector, self.parts = target.detector, output.parts
        self.gate_logits, self.alarm = output.gate_logits, output.alarm

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the classes."""
        return self._target.classes

    def losses(self, part: Part | None = None) -> Tensor:
        """(N,) detection losses."""
        self._check(part)
        losses: Tensor = self._detector.frame_losses(self._output, self._frames, part)
        return losses

    def scores(self, part: Part | None = None) -> Scores:
        """Class logits (N, L, K), the best anchor's per location."""
        return self._scores(self._raw(part)[0])

    def ground(self, part: Part | None = None) -> Tensor:
        """Where on the ground, and how turned, each location's object is (N, L, 3)."""
        detector = self._detector
        head = detector.bbox_head
        if isinstance(part, BranchPrediction) and detector.branch_head is not None:
            head = detector.branch_head
        return _ground(head, self._raw(part), self._frames)

    def numbers(self, part: Part | None = None) -> list[Tensor]:
        """Raw outputs of the head, kind by kind and level by level."""
        return [level for kind in self._raw(part) for level in kind]

    def reach(self, sensor: str) -> list[Reach]:
        """The aggregator's bounds."""
        if self._output.aggregator is None:
            raise DoesNotApplyError("the detector's fusion bounds nothing")
        low, high = self._output.bounds(sensor)
        flat = ([level for kind in one for level in kind] for one in (low, high))
        return [Reach(*pair) for pair in zip(*flat, strict=True)]

    def with_numbers(self, numbers: Sequence[Tensor]) -> Response:
        """Loss and scores of other raw outputs."""
        left = iter(numbers)
        kinds = tuple([next(left) for _ in kind] for kind in self._output.outputs)
        return _RawResponse(self, kinds)

    def _raw(self, part: Part | None) -> HeadOutputs:
        self._check(part)
        return self._output.outputs if part is None else self._output.part(part)

    def _scores(self, levels: Sequence[Tensor]) -> Scores:
        classes = self._detector.bbox_head.cls_out_channels
        return scores_of_levels(levels, classes, self._frames[0].batch_input_shape)

    def _check(self, part: Part | None) -> None:
        if part is not None and part not in self.parts:
            raise DoesNotApplyError(f"the detector's fusion combines no {part}")


class _RawResponse(Response):
    """What follows from given raw outputs of the head."""

    def __init__(self, of: _DetectorResponse, kinds: HeadOutputs) -> None:
        self._of, self._kinds, self.classes = of, kinds, of.classes

    def losses(self, part: Part | None = None) -> Tensor:
        """(N,) detection losses."""
        head, frames = self._of._detector.bbox_head, self._of._frames
        return losses_by_frame(head, self._kinds, frames)

    def scores(self, part: Part | None = None) -> Scores:
        """Class logits (N, L, K)."""
        return self._of._scores(self._kinds[0])

    def ground(self, part: Part | None = None) -> Tensor:
        """Where on the ground, and how turned, each location's object is (N, L, 3)."""
        return _ground(self._of._detector.bbox_head, self._kinds, self._of._frames)


def _ground(head: Any, outputs: HeadOutputs, frames: Frames) -> Tensor:
    if not isinstance(head, FCOS3DHead):
        raise DoesNotApplyError("the detector says nothing in metres")
    numbers, directions = outputs[3:]
    return head.ground(numbers, directions, [one.metainfo for one in frames])


def scores_of_levels(
    levels: Sequence[Tensor], classes: int, size: tuple[int, int]
) -> Scores:
    """Class logits by location from a dense head's maps (N, A K, H_l, W_l).

    Args:
        levels: One map per pyramid level; of a location's A anchors the best counts.
        classes: K.
        size: (h, w) of the input in pixels that each of them covers.
    """
    flat, centers = [], []
    for level in levels:
        n, _, h, w = level.shape
        flat.append(level.reshape(n, -1, classes, h * w).amax(dim=1).transpose(1, 2))
        y = (torch.arange(h, device=level.device) + 0.5) * (size[0] / h)
        x = (torch.arange(w, device=level.device) + 0.5) * (size[1] / w)
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        centers.append(grid.reshape(-1, 2))
    return Scores(torch.cat(flat, dim=1), torch.cat(centers))


def read_prediction(sample: DetDataSample, classes: Sequence[str]) -> Prediction:
    """What a detector wrote on a sample, as plain values."""
    gate = sample.get("gate")
    return Prediction(
        detections=as_objects(sample.pred_instances, classes),
        gate=None if gate is None else tuple(gate.detach().cpu().tolist()),
        alarm=None if sample.get("alarm") is None else float(sample.alarm),
    )
