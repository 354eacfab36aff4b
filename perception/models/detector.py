"""The multi-sensor detector: branches, one fusion neck, any MMDetection dense head.

Shape letters: N frames, S sensors, C channels, H, W input size, C_l, H_l, W_l of
pyramid level l.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from torch import Tensor, nn

from perception.core.structures import SensorSpec
from perception.models.fusion.base import FusionOutput
from perception.models.heads.outputs import (
    HeadOutputs,
    Pyramid,
    in_training_mode,
    losses_by_frame,
    run,
    run_on_views,
    shared_targets,
)
from perception.models.losses import losses_by_honesty
from perception.models.preprocessor import restricted_to


@MODELS.register_module()
class MultiModalDetector(BaseDetector):
    """Detects objects in the reference image from any set of named sensors.

    Args:
        branches: For each sensor the config of its branch; their order is the order
            of the sensors everywhere.
        bbox_head: Config of an MMDetection dense head.
        fusion: Config of a fusion neck; None only for a single branch. The names of
            the sensors are filled in, those of the branches.
        view_head: Config of the dense head that detects with one sensor alone, for
            necks that compare such detections; None lets ``bbox_head`` do it.
        train_cfg: MMDetection's training config of the head.
        test_cfg: MMDetection's test config of the head.
        data_preprocessor: Config of a ``MultiModalPreprocessor``. It may describe
            more sensors than there are branches; the others are left out.
        init_cfg: MMEngine initialisation config.
    """

    def __init__(
        self,
        *,
        branches: Mapping[str, dict],
        bbox_head: dict,
        data_preprocessor: dict,
        fusion: dict | None = None,
        view_head: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            MODELS.build(restricted_to(data_preprocessor, branches)), init_cfg
        )
        if (fusion is None) != (len(branches) == 1):
            raise ValueError(
                "one branch takes no fusion and several branches need one, got "
                f"{len(branches)} branches and fusion={fusion}"
            )
        named = list((fusion or {}).get("sensors", branches))
        if named != list(branches):
            raise ValueError(
                f"fusion takes the branches' sensors in their order, {list(branches)}, "
                f"got {named}"
            )
        self.branches = nn.ModuleDict(
            {name: MODELS.build(config) for name, config in branches.items()}
        )
        for name, spec in self.sensors.items():
            means, channels = len(branches[name]["mean"]), len(spec.channels)
            if means != channels:
                raise ValueError(
                    f"branch {name!r} normalises {means} channels, but the sensor has "
                    f"{channels}"
                )
        self.fusion = (
            None
            if fusion is None
            else MODELS.build(dict(fusion) | {"sensors": list(branches)})
        )
        settings = {"train_cfg": train_cfg, "test_cfg": test_cfg}
        self.bbox_head = MODELS.build(ConfigDict(dict(bbox_head) | settings))
        self.view_head = None
        if view_head is not None:
            self.view_head = MODELS.build(ConfigDict(dict(view_head) | settings))

    @property
    def sensors(self) -> dict[str, SensorSpec]:
        """What each sensor's input tensor holds, in the order of the gate."""
        return self.data_preprocessor.sensors

    @property
    def can_blame(self) -> bool:
        """Whether its fusion can be told which sensor lies."""
        return self.fusion is not None and self.fusion.can_blame

    @property
    def single_head(self) -> nn.Module:
        """The head that detects with one sensor alone."""
        return self.bbox_head if self.view_head is None else self.view_head

    def extract_branches(self, inputs: Mapping[str, Tensor]) -> dict[str, Pyramid]:
        """{sensor: (N, C, H, W)} to {sensor: pyramid of (N, C_l, H_l, W_l)}."""
        return {name: self.branches[name](inputs[name]) for name in self.branches}

    def fuse(self, pyramids: Mapping[str, Pyramid]) -> FusionOutput:
        """{sensor: pyramid} to the fused pyramid and, with a gate, its logits.

        For losses, within :meth:`for_losses`: views are looked at by a head here.
        """
        if self.fusion is None:
            (pyramid,) = pyramids.values()
            return FusionOutput(pyramid)
        views, experts = self.fusion.views(pyramids), self.fusion.alternatives(pyramids)
        return self.fusion(
            pyramids,
            run_on_views(self.single_head, views) if views else (),
            run_on_views(self.bbox_head, experts) if experts else (),
        )

    def extract_feat(self, batch_inputs: Mapping[str, Tensor]) -> Pyramid:
        """{sensor: (N, C, H, W)} to the fused pyramid."""
        return self.fuse(self.extract_branches(batch_inputs)).features

    def head_outputs(self, fused: FusionOutput, part: str | None = None) -> HeadOutputs:
        """What is said of each location, before boxes are made of it.

        Args:
            fused: What :meth:`fuse` returned.
            part: None for what the detector says; for a neck with views ``"fused"``
                for what the fused pyramid says, a sensor's name for what its view
                says and, for a neck with experts, ``"without:SENSOR"`` for what they
                say, before the neck combines them.

        Raises:
            ValueError: If there is no such part.
        """
        if part is None:
            outputs: Any = (
                run(self.bbox_head, fused.features) if fused.features else None
            )
            if self.fusion is None or not fused.views:
                return outputs
            return self.fusion.combine(outputs, fused)
        outputs = fused.part(part, list(self.branches))
        if outputs is None and part == "fused" and fused.views and fused.features:
            outputs = run(self.bbox_head, fused.features)
        if outputs is not None:
            return outputs
        raise ValueError(f"the detector has no part {part!r} that its neck combines")

    @contextmanager
    def for_losses(self) -> Iterator[None]:
        """Fuse and take losses in here: heads answer as in training, in any mode."""
        heads = self.bbox_head, self.view_head
        with in_training_mode(*heads), shared_targets(*heads):
            yield

    def loss(
        self, batch_inputs: Mapping[str, Tensor], batch_data_samples: Sequence
    ) -> dict[str, Tensor]:
        """Detection losses and the fusion neck's own.

        A sample's metainfo ``odd_sensor`` names the sensor known to lie; without it
        none does. Frames with a lying sensor have losses of their own, ``attacked_*``,
        so that they weigh as much as all the honest ones.

        A sensor may come with fewer frames than there are samples, N / m: its input is
        then the same in all m parts of the batch, and is looked at only once.
        """
        frames = len(batch_data_samples)
        pyramids = {
            name: tuple(f.repeat(frames // len(f), 1, 1, 1) for f in pyramid)
            for name, pyramid in self.extract_branches(batch_inputs).items()
        }
        with self.for_losses():
            fused = self.fuse(pyramids)
            losses = self.detection_losses(fused, batch_data_samples)
        if self.fusion is not None:
            odd = self._odd_sensors(batch_data_samples)
            losses |= self.fusion.losses(fused, odd.to(next(self.parameters()).device))
        return losses

    def detection_losses(
        self, fused: FusionOutput, batch_data_samples: Sequence
    ) -> dict[str, Tensor]:
        """The heads' losses; ``fused`` was made :meth:`for_losses`, as these are."""
        self._check_for_losses()
        heads = self.bbox_head, self.single_head
        outputs = self.head_outputs(fused)
        return losses_by_honesty(self.fusion, heads, outputs, fused, batch_data_samples)

    def frame_losses(
        self,
        fused: FusionOutput,
        batch_data_samples: Sequence,
        part: str | None = None,
    ) -> Tensor:
        """(N,) detection loss of each frame by itself, as attacks need it.

        The batch's loss is normalised over all its frames; these are not mixed.
        ``fused`` was made :meth:`for_losses`, as these are. ``part`` is that of
        :meth:`head_outputs`.
        """
        single = part is not None and part in self.branches
        head = self.single_head if single else self.bbox_head
        self._check_for_losses()
        outputs = self.head_outputs(fused, part)
        return losses_by_frame(head, outputs, batch_data_samples)

    def predict(
        self,
        batch_inputs: Mapping[str, Tensor],
        batch_data_samples: Sequence,
        rescale: bool = True,
    ) -> list[DetDataSample]:
        """Detections of each frame, in pixels of the original image if ``rescale``.

        With a gate each sample also carries ``gate``, (S + 1,) probabilities, and what
        else :meth:`FusionOutput.add_gate_to` adds.
        """
        if self.bbox_head.training:
            raise RuntimeError("heads give boxes in eval mode, not for_losses()")
        fused = self.fuse(self.extract_branches(batch_inputs))
        samples = list(batch_data_samples)
        results = self.bbox_head.predict_by_feat(
            *self.head_outputs(fused),
            batch_img_metas=[sample.metainfo for sample in samples],
            rescale=rescale,
        )
        samples = self.add_pred_to_datasample(samples, results)
        fused.add_gate_to(samples)
        return samples

    def _forward(
        self,
        batch_inputs: Mapping[str, Tensor],
        batch_data_samples: Sequence | None = None,
    ) -> tuple:
        """Raw outputs of the head; tensors in, tensors out."""
        return self.head_outputs(self.fuse(self.extract_branches(batch_inputs)))

    def _check_for_losses(self) -> None:
        if not self.bbox_head.training:
            raise RuntimeError("fuse and take losses within detector.for_losses()")

    def _odd_sensors(self, batch_data_samples: Sequence) -> Tensor:
        """(N,) index of the sensor that lies in each frame, S where none does."""
        names = [*self.branches, None]
        odd = [sample.get("odd_sensor") for sample in batch_data_samples]
        return torch.tensor([names.index(name) for name in odd])
