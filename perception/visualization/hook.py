"""Pictures of validation frames while a detector trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmdet.structures import DetDataSample
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from perception.targets.multimodal import read_prediction
from perception.visualization.attack_figure import draw_scene
from perception.visualization.observe import scene_of
from perception.visualization.scene import Judge


@HOOKS.register_module()
class DetectionPicturesHook(Hook):
    """Adds a sheet of some validation frames to the run's visualizer.

    Whatever backends the visualizer has (TensorBoard, files) get ``val/<frame id>``
    at every validation, so that one can watch a detector learn.

    To use it, name ``configs/_base_/runtime/pictures.py`` in a config's ``_base_`` in
    place of ``default.py``, or write::

        custom_imports = dict(imports=[..., "perception.visualization.hook"])
        custom_hooks = [..., dict(type="DetectionPicturesHook", frames=4)]

    Args:
        frames: So many of the first validation frames.
        width: Width of a sheet in pixels.
        score_threshold: Detections below it are not drawn.
        every: Draw at every so many validations.
    """

    priority = "LOW"

    def __init__(
        self,
        *,
        frames: int = 4,
        width: int = 1200,
        score_threshold: float = 0.3,
        every: int = 1,
    ) -> None:
        if frames < 1 or every < 1 or width < 1:
            raise ValueError(
                "frames, every and width must be at least 1, got "
                f"{frames}, {every} and {width}"
            )
        self.frames, self.width, self.every = frames, width, every
        self.score_threshold = score_threshold
        self._drawn = self._validations = 0

    def before_val_epoch(self, runner: Any) -> None:
        """Begin to count frames again."""
        self._drawn = 0
        self._validations += 1

    def after_val_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Mapping[str, Any] | None = None,
        outputs: Sequence[DetDataSample] | None = None,
    ) -> None:
        """Draw the batch's frames, as long as fewer than ``frames`` were."""
        wanted = self.frames - self._drawn
        skipped = (self._validations - 1) % self.every
        if wanted <= 0 or skipped or not outputs or not data_batch:
            return
        model = getattr(runner.model, "module", runner.model)
        raw = model.data_preprocessor.cast_data(data_batch)["inputs"]
        packed = model.data_preprocessor(data_batch, False)
        judge = self._judge(model, runner)
        for n, sample in enumerate(outputs[:wanted]):
            said = read_prediction(sample, model.dataset_meta["classes"])
            scene = scene_of(model.sensors, raw, packed["inputs"], sample, said, n=n)
            sheet = draw_scene(scene, judge, width=self.width)
            runner.visualizer.add_image(f"val/{scene.frame_id}", sheet, runner.iter)
            self._drawn += 1

    def _judge(self, model: Any, runner: Any) -> Judge:
        classes = getattr(model, "dataset_meta", None)
        classes = classes or runner.val_dataloader.dataset.metainfo
        model.dataset_meta = classes
        return Judge.at_half_overlap(classes["classes"], self.score_threshold)
