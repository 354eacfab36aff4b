"""Any 2D detector of MMDetection, by its config and checkpoint."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor

from perception.attacks.target import DoesNotApplyError, Frames, Inputs, Scores
from perception.core.checkpoints import load_checkpoint, secure_mmengine
from perception.core.structures import DataError
from perception.models.loading import compute_in_float32
from perception.models.modes import giving_losses, in_eval_mode
from perception.targets.camera import Found
from perception.targets.mmdetection_config import labels_of, picture_of
from perception.targets.multimodal import scores_of_levels
from perception.targets.pictures import PictureFormat
from perception.targets.registry import TARGETS
from perception.targets.trainable import TrainableCameraTarget


@TARGETS.register_module()
class MMDetectionTarget(TrainableCameraTarget):
    """A detector of MMDetection.

    Size, padding, channel order and scale are those of its test pipeline and its data
    preprocessor; dense heads with sigmoid scores give ``scores``.

    Args:
        config: Its config file.
        checkpoint: Its weights; only tensors and plain values are read of it.
        labels: Names of its classes; None takes those that the checkpoint or the
            config tells.
        picture: Shown instead of what the config says.
        settings: As for ``CameraTarget``.

    Raises:
        DataError: If the weights are not those of the config, or no class is named.
    """

    def __init__(
        self,
        config: str | os.PathLike | Config,
        checkpoint: str | os.PathLike,
        *,
        labels: Sequence[str] | None = None,
        picture: PictureFormat | None = None,
        **settings: Any,
    ) -> None:
        secure_mmengine()
        compute_in_float32()
        init_default_scope("mmdet")
        config = config if isinstance(config, Config) else Config.fromfile(config)
        model, loaded = MODELS.build(config.model), load_checkpoint(checkpoint)
        try:
            model.load_state_dict(loaded["state_dict"])
        except RuntimeError as error:
            reason = " ".join(str(error).split()[:60])
            raise DataError(
                f"{checkpoint}: does not fit the config: {reason}"
            ) from error
        labels = labels or labels_of(config, loaded.get("meta", {}))
        if not labels:
            raise DataError(f"{checkpoint}: does not name its classes: give `labels`")
        picture = picture or picture_of(config, model.data_preprocessor)
        super().__init__(model, labels=labels, picture=picture, **settings)
        self.detector: Any = self.module

    def detect(self, image: Tensor) -> Found:
        """Boxes, scores and labels of (1, 3, H, W)."""
        with in_eval_mode(self.module):
            (said,) = self.detector.predict(image, [_sample(image)], rescale=False)
        found = said.pred_instances
        return found.bboxes, found.scores, found.labels

    def loss(self, image: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """The sum of the detector's losses."""
        sample = _sample(image)
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
        sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=labels[:0])
        with giving_losses(self.module):
            terms = self.detector.loss(image, [sample])
        total: Tensor = self.detector.parse_losses(terms)[0]
        return total

    def scores(self, inputs: Inputs, frames: Frames) -> Scores:
        """Logits of our classes at every location of a dense head."""
        head: Any = getattr(self.module, "bbox_head", None)
        if not getattr(getattr(head, "loss_cls", None), "use_sigmoid", False):
            raise DoesNotApplyError("the target has no dense head with sigmoid scores")
        shown = list(self.shown(inputs, frames))
        if len({scale for _, _, scale in shown}) > 1:
            raise DoesNotApplyError("frames of several sizes have no common locations")
        image = torch.cat([image for image, _, _ in shown])
        with in_eval_mode(self.module):
            levels = head(self.detector.extract_feat(image))[0]
        found = scores_of_levels(levels, head.cls_out_channels, _size(image))
        centers = found.centers_px / found.centers_px.new_tensor(shown[0][2])
        ours = [[i for i, o in enumerate(self._ours) if o == c] for c in self.classes]
        logits = [found.logits[..., numbers].amax(dim=2) for numbers in ours]
        return Scores(torch.stack(logits, dim=2), centers)


def _sample(image: Tensor) -> DetDataSample:
    sizes = ("img_shape", "ori_shape", "pad_shape", "batch_input_shape")
    same = dict.fromkeys(sizes, _size(image))
    return DetDataSample(metainfo={**same, "scale_factor": (1.0, 1.0)})


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[2], image.shape[3]
