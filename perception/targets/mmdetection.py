"""Any 2D detector of MMDetection, by its config and checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
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
from perception.targets.camera import Found, TrainableCameraTarget
from perception.targets.multimodal import scores_of_levels
from perception.targets.pictures import PictureFormat
from perception.targets.registry import TARGETS


@TARGETS.register_module()
class MMDetectionTarget(TrainableCameraTarget):
    """A detector of MMDetection.

    Size, padding, channel order and scale are those of its test pipeline and its data
    preprocessor; ``scores`` are there for dense heads with sigmoid scores.

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
        labels = labels or _labels(config, loaded.get("meta", {}))
        if not labels:
            raise DataError(f"{checkpoint}: does not name its classes: give `labels`")
        picture = picture or picture_of(config, model.data_preprocessor)
        super().__init__(model, labels=labels, picture=picture, **settings)

    def detect(self, image: Tensor) -> Found:
        """Boxes, scores and labels of (1, 3, H, W)."""
        with in_eval_mode(self.module):
            (said,) = self.module.predict(image, [_sample(image)], rescale=False)
        found = said.pred_instances
        return found.bboxes, found.scores, found.labels

    def loss(self, image: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """The sum of the detector's losses."""
        sample = _sample(image)
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
        sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=labels[:0])
        with giving_losses(self.module):
            terms = self.module.loss(image, [sample])
        total: Tensor = self.module.parse_losses(terms)[0]
        return total

    def scores(self, inputs: Inputs, frames: Frames) -> Scores:
        """Logits of our classes at every location of a dense head."""
        head = getattr(self.module, "bbox_head", None)
        if not getattr(getattr(head, "loss_cls", None), "use_sigmoid", False):
            raise DoesNotApplyError("the target has no dense head with sigmoid scores")
        shown = list(self.shown(inputs, frames))
        if len({scale for _, _, scale in shown}) > 1:
            raise DoesNotApplyError("frames of several sizes have no common locations")
        image = torch.cat([image for image, _, _ in shown])
        with in_eval_mode(self.module):
            levels = head(self.module.extract_feat(image))[0]
        found = scores_of_levels(levels, head.cls_out_channels, image.shape[2:])
        centers = found.centers_px / found.centers_px.new_tensor(shown[0][2])
        ours = [[i for i, o in enumerate(self._ours) if o == c] for c in self.classes]
        logits = [found.logits[..., numbers].amax(dim=2) for numbers in ours]
        return Scores(torch.stack(logits, dim=2), centers)


def picture_of(config: Config, preprocessor: Any) -> PictureFormat:
    """What the test pipeline (reading BGR) and the data preprocessor make of a file."""
    fields: dict[str, Any] = {"divisor": preprocessor.pad_size_divisor}
    swapped = preprocessor._channel_conversion
    fields["order"] = "rgb" if swapped else "bgr"
    if preprocessor._enable_normalize:
        fields["mean"] = tuple(preprocessor.mean.flatten().tolist())
        fields["std"] = tuple(preprocessor.std.flatten().tolist())
    data = config.get("test_dataloader", {}).get("dataset", {})
    for step in data.get("pipeline", config.get("test_pipeline", ())):
        if step["type"] == "Resize":
            fields["size"] = tuple(step["scale"])[::-1]
            fields["keep_ratio"] = step.get("keep_ratio", False)
        elif step["type"] == "Pad" and "size" in step:
            value = step.get("pad_val", 0)
            value = value.get("img", 0) if isinstance(value, Mapping) else value
            fields["fill"] = float(
                value if isinstance(value, int | float) else value[0]
            )
    return PictureFormat(**fields)


def _sample(image: Tensor) -> DetDataSample:
    size = tuple(image.shape[2:])
    same = dict.fromkeys(
        ("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), size
    )
    return DetDataSample(metainfo={**same, "scale_factor": (1.0, 1.0)})


def _labels(config: Config, meta: Mapping[str, Any]) -> Sequence[str]:
    told = meta.get("dataset_meta") or {}
    data = config.get("test_dataloader", {}).get("dataset", {})
    names = told.get("classes", told.get("CLASSES")) or data.get("metainfo", {}).get(
        "classes"
    )
    return tuple(names or ())
