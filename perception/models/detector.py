"""The multi-sensor detector: branches, one fusion neck, any MMDetection dense head.

Shape letters: N frames, S sensors, C channels, H, W input size, C_l, H_l, W_l of
pyramid level l.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from torch import Tensor, nn

from perception.models.fusion.base import FusionOutput
from perception.structures import SensorSpec

Pyramid = tuple[Tensor, ...]


@MODELS.register_module()
class MultiModalDetector(BaseDetector):
    """Detects objects in the reference image from any set of named sensors.

    Args:
        branches: For each sensor the config of its branch; their order is the order
            of the sensors everywhere.
        bbox_head: Config of an MMDetection dense head.
        fusion: Config of a fusion neck; None only for a single branch. The names of
            the sensors are filled in.
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
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(MODELS.build(_only(data_preprocessor, branches)), init_cfg)
        if (fusion is None) != (len(branches) == 1):
            raise ValueError(
                "one branch takes no fusion and several branches need one, got "
                f"{len(branches)} branches and fusion={fusion}"
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
            else MODELS.build({"sensors": list(branches)} | dict(fusion))
        )
        self.bbox_head = MODELS.build(
            ConfigDict(dict(bbox_head) | {"train_cfg": train_cfg, "test_cfg": test_cfg})
        )

    @property
    def sensors(self) -> dict[str, SensorSpec]:
        """What each sensor's input tensor holds, in the order of the gate."""
        return self.data_preprocessor.sensors

    def extract_branches(self, inputs: Mapping[str, Tensor]) -> dict[str, Pyramid]:
        """{sensor: (N, C, H, W)} to {sensor: pyramid of (N, C_l, H_l, W_l)}."""
        return {name: self.branches[name](inputs[name]) for name in self.branches}

    def fuse(self, pyramids: Mapping[str, Pyramid]) -> FusionOutput:
        """{sensor: pyramid} to the fused pyramid and, with a gate, its logits."""
        if self.fusion is None:
            (pyramid,) = pyramids.values()
            return FusionOutput(pyramid)
        return self.fusion(pyramids)

    def extract_feat(self, batch_inputs: Mapping[str, Tensor]) -> Pyramid:
        """{sensor: (N, C, H, W)} to the fused pyramid."""
        return self.fuse(self.extract_branches(batch_inputs)).features

    def loss(
        self, batch_inputs: Mapping[str, Tensor], batch_data_samples: Sequence
    ) -> dict[str, Tensor]:
        """Detection losses and the fusion neck's own.

        A sample's metainfo ``odd_sensor`` names the sensor known to lie; without it
        none does.
        """
        fused = self.fuse(self.extract_branches(batch_inputs))
        losses = self.detection_losses(fused, batch_data_samples)
        if self.fusion is not None:
            odd = self._odd_sensors(batch_data_samples).to(fused.features[0].device)
            losses |= self.fusion.losses(fused, odd)
        return losses

    def detection_losses(
        self, fused: FusionOutput, batch_data_samples: Sequence
    ) -> dict[str, Tensor]:
        """The head's losses, the same in train and eval mode of the detector."""
        with _in_training_mode(self.bbox_head):
            return self.bbox_head.loss(fused.features, list(batch_data_samples))

    def frame_losses(self, fused: FusionOutput, batch_data_samples: Sequence) -> Tensor:
        """(N,) total detection loss of each frame by itself, as attacks need it.

        The batch's loss is normalised over all its frames; these are not mixed.
        """
        losses = []
        with _in_training_mode(self.bbox_head):
            outputs = self.bbox_head(fused.features)
            for n, sample in enumerate(batch_data_samples):
                of_frame = [[level[n : n + 1] for level in kind] for kind in outputs]
                terms = self.bbox_head.loss_by_feat(
                    *of_frame, [sample.gt_instances], [sample.metainfo]
                )
                total, _ = self.parse_losses(terms)
                losses.append(total)
        return torch.stack(losses)

    def predict(
        self,
        batch_inputs: Mapping[str, Tensor],
        batch_data_samples: Sequence,
        rescale: bool = True,
    ) -> list[DetDataSample]:
        """Detections of each frame, in pixels of the original image if ``rescale``.

        With a gate each sample also carries ``gate``: (S + 1,) probabilities, the
        last one of "no sensor lies"; a gate per location is averaged, and its map
        (S + 1, h, w) is kept as ``gate_map``.
        """
        fused = self.fuse(self.extract_branches(batch_inputs))
        samples = list(batch_data_samples)
        results = self.bbox_head.predict(fused.features, samples, rescale=rescale)
        samples = self.add_pred_to_datasample(samples, results)
        if fused.gate_logits is not None:
            for sample, gate in zip(
                samples, fused.gate_logits.softmax(dim=1), strict=True
            ):
                if gate.ndim == 3:
                    sample.set_field(gate, "gate_map", dtype=Tensor)
                    gate = gate.mean(dim=(1, 2))
                sample.set_field(gate, "gate", dtype=Tensor)
        return samples

    def _forward(
        self,
        batch_inputs: Mapping[str, Tensor],
        batch_data_samples: Sequence | None = None,
    ) -> tuple:
        """Raw outputs of the head; tensors in, tensors out."""
        return self.bbox_head(self.extract_feat(batch_inputs))

    def _odd_sensors(self, batch_data_samples: Sequence) -> Tensor:
        """(N,) index of the sensor that lies in each frame, S where none does."""
        names = [*self.branches, None]
        odd = [sample.get("odd_sensor") for sample in batch_data_samples]
        return torch.tensor([names.index(name) for name in odd])


def _only(data_preprocessor: dict, branches: Mapping[str, dict]) -> dict:
    """The preprocessor's config with the sensors of the branches, in their order."""
    described = data_preprocessor["sensors"]
    unknown = [name for name in branches if name not in described]
    if unknown:
        raise ValueError(
            f"branches {unknown} have no entry in data_preprocessor.sensors, which "
            f"describes {list(described)}"
        )
    config = copy.deepcopy(data_preprocessor)
    config["sensors"] = {name: described[name] for name in branches}
    return config


@contextmanager
def _in_training_mode(head: nn.Module) -> Iterator[None]:
    """Set the head's own ``training`` flag, leaving its layers as they are.

    Heads such as FCOS scale their box predictions by the flag, so that their loss is
    wrong in eval mode, where attacks need it; batch norm below must stay in eval.
    """
    previous, head.training = head.training, True
    try:
        yield
    finally:
        head.training = previous
