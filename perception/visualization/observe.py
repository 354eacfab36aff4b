"""Run a detector, and an attack on it, on one frame, and keep what pictures show.

The only place where pictures meet detectors and attacks.

Shape letters: N frames, S sensors; C, H, W model input, h, w gate map; P points, F
features of a point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from perception.attacks.base import Attack, Perturbation, Perturbed
from perception.attacks.batch import AttackBatch
from perception.attacks.target import frozen
from perception.attacks.threats.points import PointThreat
from perception.core.structures import Calibration, DataError
from perception.datasets.frame_dataset import FrameDataset, collate_frames
from perception.models.modes import in_eval_mode
from perception.targets import DetectorTarget
from perception.targets.multimodal import read_prediction
from perception.visualization.captions import attack_facts
from perception.visualization.scene import Scene, View

Inputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class Observation:
    """A frame and, if it was attacked, what is needed to show it to others.

    Attributes:
        scene: What to draw.
        attacked: {sensor: (1, C, H, W)} attacked model inputs; None without an attack.
        steps: The inputs that the attack tried, in order; empty unless asked for.
    """

    scene: Scene
    attacked: dict[str, Tensor] | None = None
    steps: tuple[dict[str, Tensor], ...] = ()


class Observer:
    """Looks at frames through one detector.

    Args:
        detector: A ``MultiModalDetector``; its state is left as it was.
        dataset: Where the frames come from.
        name: What to call the detector.
    """

    def __init__(self, detector: Any, dataset: FrameDataset, name: str = "") -> None:
        self.detector, self.dataset, self.name = detector, dataset, name
        self.target = DetectorTarget(detector)

    def clean(self, index: int) -> Observation:
        """The frame as it is."""
        with torch.no_grad(), in_eval_mode(self.detector):
            data = self._data(index)
            packed = self.detector.data_preprocessor(data, False)
            (sample,) = self.detector.predict(packed["inputs"], packed["data_samples"])
        scene = scene_of(self.detector, data["inputs"], packed["inputs"], sample)
        return Observation(replace(scene, detector=self.name))

    def attacked(
        self, index: int, attack: Perturbation, *, trace: bool = False
    ) -> Observation:
        """The frame before and after an attack on this detector.

        Args:
            index: Number of the frame in the data set; seeds the attack.
            attack: What to do.
            trace: Keep what the attack tried, see ``Observation.steps``.

        Raises:
            DataError: If the frame has no labels or the attack is impossible.
        """
        traced = _Traced(self.detector, attack.touched)
        try:
            batch = self.target.batch(self._data(index), [index])
            result = attack(traced if trace else self.target, batch)
        except ValueError as error:
            raise DataError(f"{attack.name}: {error}") from error
        assert result.detection_loss is not None
        scene = self._compared(batch, result.inputs, result.detection_loss.item())
        scene = _told(scene, attack, _clouds(attack, result, batch))
        return Observation(scene, result.inputs, tuple(traced.steps))

    def shown(self, index: int, attack: Perturbation, inputs: Inputs) -> Observation:
        """The frame before and after an attack that was made elsewhere.

        Args:
            index: Number of the frame in this observer's data set.
            attack: How ``inputs`` came about.
            inputs: {sensor: (1, C, H, W)} attacked model inputs.

        Raises:
            DataError: If the inputs are not those of this detector.
        """
        batch = self.target.batch(self._data(index), [index])
        for name, clean in batch.inputs.items():
            if name not in inputs or inputs[name].shape != clean.shape:
                raise DataError(
                    f"{self.name}: an attack on another detector cannot be shown to "
                    f"this one: it needs {name} of {tuple(clean.shape[1:])}"
                )
        inputs = {name: inputs[name] for name in batch.inputs}
        return Observation(_told(self._compared(batch, inputs), attack, {}), {**inputs})

    def replay(self, index: int, steps: Sequence[Inputs], scene: Scene) -> list[Scene]:
        """The scene as it was at each step of the attack."""
        batch = self.target.batch(self._data(index), [index])
        scenes = []
        for number, touched in enumerate(steps, start=1):
            changed = self._compared(batch, {**batch.inputs, **touched})
            step = (("step", f"{number} of {len(steps)}"),)
            scenes.append(replace(scene, attacked=changed.attacked, facts=step))
        return scenes

    def _data(self, index: int) -> dict[str, Any]:
        data = collate_frames([self.dataset[index]])
        return self.detector.data_preprocessor.cast_data(data)

    def _compared(
        self, batch: AttackBatch, inputs: Inputs, loss: float | None = None
    ) -> Scene:
        """The scene of a batch of one frame with attacked inputs."""
        scene = scene_of(
            self.detector,
            batch.raw,
            batch.inputs,
            self._predict(batch, batch.inputs),
            loss=self._loss(batch, batch.inputs),
        )
        sample = self._predict(batch, inputs)
        loss = self._loss(batch, inputs) if loss is None else loss
        view = view_of(self.detector, scene.clean.points, inputs, sample, loss)
        return replace(scene, attacked=view, detector=self.name)

    def _predict(self, batch: AttackBatch, inputs: Inputs) -> DetDataSample:
        samples = [sample.clone() for sample in batch.samples]
        with torch.no_grad(), in_eval_mode(self.detector):
            return self.detector.predict(dict(inputs), samples)[0]

    def _loss(self, batch: AttackBatch, inputs: Inputs) -> float:
        with torch.no_grad(), frozen(self.target):
            return self.target.losses(inputs, batch.samples).item()


class _Traced(DetectorTarget):
    """A detector that keeps what attacks try: it must pass through ``encode``."""

    def __init__(self, detector: Any, touched: Sequence[str]) -> None:
        super().__init__(detector)
        self.touched, self.current = touched, dict[str, Tensor]()
        self.steps: list[dict[str, Tensor]] = []

    def encode(self, sensor: str, x: Tensor) -> tuple[Tensor, ...]:
        """Of several restarts or draws side by side, the first stands for all."""
        if sensor in self.touched:
            self.current[sensor] = x[:1].detach().clone()
        if len(self.current) == len(self.touched):
            now, last = self.current, self.steps[-1] if self.steps else {}
            if not last or any(not torch.equal(last[k], v) for k, v in now.items()):
                self.steps.append(now)
            self.current = {}
        return super().encode(sensor, x)


def _clouds(
    attack: Perturbation, result: Perturbed, batch: AttackBatch
) -> dict[str, np.ndarray]:
    """The attacked cloud (P, 3 + F), where the attacker controls points themselves."""
    threat = attack.threat if isinstance(attack, Attack) else None
    if not isinstance(threat, PointThreat) or result.variable is None:
        return {}
    (cloud,) = threat.points(result.variable, batch)
    return {threat.sensor: cloud.detach().cpu().numpy()}


def _told(
    scene: Scene, attack: Perturbation, clouds: Mapping[str, np.ndarray]
) -> Scene:
    """The scene with what its attack is called and did to points."""
    assert scene.attacked is not None
    points = {**scene.attacked.points, **clouds}
    return replace(
        scene,
        attacked=replace(scene.attacked, points=points),
        touched=tuple(attack.touched),
        attack=attack.name,
        facts=attack_facts(attack, scene.sensors),
    )


def scene_of(
    detector: Any,
    raw: Mapping[str, Sequence[Tensor]],
    inputs: Inputs,
    sample: DetDataSample,
    *,
    n: int = 0,
    loss: float | None = None,
) -> Scene:
    """What a detector saw and found in one clean frame.

    Args:
        detector: A ``MultiModalDetector``.
        raw: For each sensor the frames' tensors as the data loader yields them.
        inputs: {sensor: (N, C, H, W)} model inputs.
        sample: The predicted sample of the frame.
        n: Number of the frame in the batch.
        loss: Detection loss, if known.
    """
    specs = detector.sensors
    points = {
        name: raw[name][n].detach().cpu().numpy()
        for name, spec in specs.items()
        if spec.kind == "points"
    }
    others = [raw[name][n] for name in raw if name not in specs]
    pictures = [
        value.cpu().numpy().transpose(1, 2, 0)
        for value in others
        if value is not None and value.ndim == 3 and value.dtype == torch.uint8
    ]
    one = {name: value[n : n + 1] for name, value in inputs.items()}
    return Scene(
        frame_id=str(sample.frame_id),
        sensors=specs,
        calibration=_calibration_of(sample),
        image_size=tuple(sample.img_shape[:2]),
        original_size=tuple(sample.ori_shape[:2]),
        truth=sample.get("objects"),
        clean=view_of(detector, points, one, sample, loss),
        picture=pictures[0] if pictures else None,
    )


def _calibration_of(sample: DetDataSample) -> Calibration:
    """The calibration at the resolution of the model input, from the sample."""
    image_P_cam = np.asarray(sample.image_P_cam, dtype=np.float64)
    inverse = np.linalg.inv(image_P_cam[:, :3])
    transforms = {}
    for name, image_P_sensor in sample.projections.items():
        # P_sensor = [M | p] T, hence the upper rows of T are M⁻¹ (P_sensor - [0 | p]).
        rows: np.ndarray = inverse @ np.asarray(image_P_sensor, dtype=np.float64)
        rows[:, 3] = rows[:, 3] - inverse @ image_P_cam[:, 3]
        transforms[name] = np.vstack([rows, [0, 0, 0, 1]])
    return Calibration(image_P_cam, transforms)


def view_of(
    detector: Any,
    points: Mapping[str, np.ndarray],
    inputs: Inputs,
    sample: DetDataSample,
    loss: float | None,
) -> View:
    """What a detector was given and found in one frame, without padding.

    Args:
        detector: A ``MultiModalDetector``.
        points: For each point sensor its cloud (P, 3 + F).
        inputs: {sensor: (1, C, H, W)} model inputs.
        sample: The predicted sample of the frame.
        loss: Detection loss, if known.
    """
    height, width = sample.img_shape[:2]
    said = read_prediction(sample, detector.dataset_meta["classes"])
    gate_map = sample.get("gate_map")
    if gate_map is not None:
        # (S + 1, h, w) over the padded image becomes (S + 1, H, W) over the image.
        gate_map = gate_map.detach().cpu().numpy()
        padded = next(iter(inputs.values())).shape[-2:]
        rows = np.arange(height) * gate_map.shape[1] // padded[0]
        columns = np.arange(width) * gate_map.shape[2] // padded[1]
        gate_map = gate_map[:, rows[:, None], columns]
    return View(
        inputs={
            name: value[0, :, :height, :width].detach().cpu().numpy()
            for name, value in inputs.items()
        },
        points=points,
        detections=said.detections,
        gate=None if said.gate is None else np.array(said.gate),
        gate_map=gate_map,
        alarm=said.alarm,
        loss=loss,
    )
