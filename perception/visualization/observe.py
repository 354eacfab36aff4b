"""Run a system, and an attack on it, on one frame, and keep what pictures show.

The only place where pictures meet targets and attacks.

Shape letters: N frames, S sensors; C, H, W model input, h, w gate map; P points, F
features of a point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from perception.attacks.base import Attack, Perturbation, Perturbed
from perception.attacks.batch import AttackBatch
from perception.attacks.target import HasFeatures, HasLosses, frozen
from perception.attacks.threats.points import PointThreat
from perception.core.structures import (
    Calibration,
    Channel,
    DataError,
    Prediction,
    SensorSpec,
)
from perception.datasets.frame_dataset import FrameDataset, collate_frames
from perception.evaluation.certificate.outlines import outlines
from perception.evaluation.detection.rules import Scoring
from perception.models import MultiModalDetector
from perception.models.rasterize import draw_points
from perception.targets.loading import LoadedTarget
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
    """Looks at frames through one system.

    Args:
        target: One of ours or of somebody else; its state is left as it was.
        dataset: Where the frames come from.
        name: What to call the system.
        scoring: What counts as detected, for regions that objects are certified to stay
            in; None: none are computed.
    """

    def __init__(
        self,
        target: LoadedTarget,
        dataset: FrameDataset,
        name: str = "",
        scoring: Scoring | None = None,
    ) -> None:
        self.target, self.dataset, self.name = target, dataset, name
        self.scoring = scoring

    def clean(self, index: int) -> Observation:
        """The frame as it is."""
        data = self._data(index)
        packed = self.target.preprocessor(data, False)
        (sample,) = packed["data_samples"]
        (said,) = self.target.predict(packed["inputs"], [sample])
        scene = scene_of(
            self.target.sensors, data["inputs"], packed["inputs"], sample, said
        )
        regions: tuple[np.ndarray, ...] = ()
        if sample.get("objects") is not None:
            regions = self._regions(self.target.batch(data, [index]), ())
        return Observation(replace(scene, detector=self.name, regions=regions))

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
        steps: list[dict[str, Tensor]] = []
        try:
            batch = self.target.batch(self._data(index), [index])
            target = _traced(self.target, attack.touched, steps) if trace else None
            result = attack(target or self.target, batch)
        except ValueError as error:
            raise DataError(f"{attack.name}: {error}") from error
        found = result.detection_loss
        loss = None if found is None else found.item()
        scene = self._compared(batch, result.inputs, loss)
        scene = _told(scene, attack, _clouds(attack, result, batch))
        scene = replace(scene, regions=self._regions(batch, attack.touched))
        return Observation(scene, result.inputs, tuple(steps))

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
        scene = _told(self._compared(batch, inputs), attack, {})
        regions = self._regions(batch, attack.touched)
        return Observation(replace(scene, regions=regions), {**inputs})

    def _regions(
        self, batch: AttackBatch, touched: Sequence[str]
    ) -> tuple[np.ndarray, ...]:
        """Where each certified object of a frame stays, see ``Scene.regions``."""
        detector = getattr(self.target, "detector", None)
        if self.scoring is None or not isinstance(detector, MultiModalDetector):
            return ()
        return outlines(detector, batch, self.scoring, touched)

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
        cast: dict[str, Any] = self.target.preprocessor.cast_data(data)
        return cast

    def _compared(
        self, batch: AttackBatch, inputs: Inputs, loss: float | None = None
    ) -> Scene:
        """The scene of a batch of one frame with attacked inputs."""
        sample, said = self._predict(batch, batch.inputs)
        scene = scene_of(
            self.target.sensors,
            batch.raw,
            batch.inputs,
            sample,
            said,
            loss=self._loss(batch, batch.inputs),
        )
        sample, said = self._predict(batch, inputs)
        loss = self._loss(batch, inputs) if loss is None else loss
        shown = _drawn(self.target.sensors, inputs, sample)
        view = view_of(scene.clean.points, shown, sample, said, loss)
        return replace(scene, attacked=view, detector=self.name)

    def _predict(
        self, batch: AttackBatch, inputs: Inputs
    ) -> tuple[DetDataSample, Prediction]:
        (sample,) = [sample.clone() for sample in batch.samples]
        return sample, self.target.predict(dict(inputs), [sample])[0]

    def _loss(self, batch: AttackBatch, inputs: Inputs) -> float | None:
        if not isinstance(self.target, HasLosses):
            return None
        with torch.no_grad(), frozen(self.target):
            return float(self.target.losses(inputs, batch.samples).item())


def _traced(
    target: LoadedTarget, touched: Sequence[str], steps: list[dict[str, Tensor]]
) -> LoadedTarget:
    """A target that also keeps what attacks ask of it, the touched sensors' inputs.

    Of several restarts or draws side by side, the first stands for all.
    """
    traced, current = copy(target), dict[str, Tensor]()

    def keep(sensor: str, x: Tensor) -> None:
        if sensor in touched:
            current[sensor] = x[:1].detach().clone()
        if len(current) == len(touched):
            now, last = dict(current), steps[-1] if steps else {}
            if not last or any(not torch.equal(last[k], v) for k, v in now.items()):
                steps.append(now)
            current.clear()

    def encode(sensor: str, x: Tensor) -> Any:
        keep(sensor, x)
        return target.encode(sensor, x)  # type: ignore[attr-defined]

    def asking(ask: Callable[..., Any]) -> Callable[..., Any]:
        def asked(inputs: Inputs, *rest: Any) -> Any:
            for name in touched:
                keep(name, inputs[name])
            return ask(inputs, *rest)

        return asked

    if isinstance(target, HasFeatures):
        vars(traced)["encode"] = encode
        return traced
    for name in ("losses", "scores", "predict"):
        if hasattr(target, name):
            vars(traced)[name] = asking(getattr(target, name))
    return traced


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
    specs: Mapping[str, SensorSpec],
    raw: Mapping[str, Sequence[Tensor]],
    inputs: Inputs,
    sample: DetDataSample,
    said: Prediction,
    *,
    n: int = 0,
    loss: float | None = None,
) -> Scene:
    """What a system saw and found in one clean frame.

    Args:
        specs: Its sensors.
        raw: For each sensor the frames' tensors as the data loader yields them.
        inputs: {sensor: (N, C, H, W)} model inputs.
        sample: The frame.
        said: What was predicted.
        n: Number of the frame in the batch.
        loss: Detection loss, if known.
    """
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
    shown = _drawn(specs, one, sample)
    return Scene(
        frame_id=str(sample.frame_id),
        sensors={name: _drawable(spec) for name, spec in specs.items()},
        calibration=_calibration_of(sample),
        image_size=tuple(sample.img_shape[:2]),
        original_size=tuple(sample.ori_shape[:2]),
        truth=sample.get("objects"),
        clean=view_of(points, shown, sample, said, loss),
        picture=pictures[0] if pictures else None,
    )


def _drawable(spec: SensorSpec) -> SensorSpec:
    """The sensor as pictures show it: points that the model sees as a table, drawn."""
    if not spec.is_table:
        return spec
    first = (Channel("depth_m", "m", 0.0, 80.0), Channel("height_m", "m", -3.0, 3.0))
    return replace(spec, channels=first + spec.channels[3:])


def _drawn(
    specs: Mapping[str, SensorSpec], inputs: Inputs, sample: DetDataSample
) -> dict[str, Tensor]:
    """Model inputs {sensor: (1, C, H, W)} of one frame, tables of points as images."""
    shown = dict(inputs)
    for name, spec in specs.items():
        if spec.is_table:
            table = inputs[name][0, :, :, 0].T
            points, matrix = table[table.any(dim=1)], sample.projections[name]
            size = sample.img_shape[:2]
            image = draw_points(points, _drawable(spec), torch.as_tensor(matrix), size)
            shown[name] = image[None]
    return shown


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
    points: Mapping[str, np.ndarray],
    inputs: Inputs,
    sample: DetDataSample,
    said: Prediction,
    loss: float | None,
) -> View:
    """What a system was given and found in one frame, without padding.

    Args:
        points: For each point sensor its cloud (P, 3 + F).
        inputs: {sensor: (1, C, H, W)} images.
        sample: The frame; a ``MultiModalDetector`` leaves its ``gate_map`` there.
        said: What was predicted.
        loss: Detection loss, if known.
    """
    height, width = sample.img_shape[:2]
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
