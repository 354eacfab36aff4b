"""Run a detector, and an attack on it, on one frame, and keep what pictures show.

Shape letters: C, H, W model input; P points, F features of a point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from perception.attacks.base import Attack, Perturbation, Perturbed
from perception.attacks.batch import AttackBatch
from perception.attacks.goals import Goal
from perception.attacks.target import frozen
from perception.attacks.threats.points import PointThreat
from perception.attacks.victim import Victim
from perception.core.structures import DataError
from perception.datasets.frame_dataset import FrameDataset, collate_frames
from perception.models.modes import in_eval_mode
from perception.targets import DetectorTarget
from perception.visualization.captions import attack_facts
from perception.visualization.capture import Inputs, scene_of, view_of
from perception.visualization.scene import Scene


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
        steps: list[dict[str, Tensor]] = []
        try:
            batch = self.target.batch(self._data(index), [index])
            with ExitStack() as stack:
                if trace:
                    stack.enter_context(
                        _Recorder(self.detector, attack.touched, steps)
                    )
                result = attack(self.target, batch)
        except ValueError as error:
            raise DataError(f"{attack.name}: {error}") from error
        assert result.detection_loss is not None
        scene = self._compared(batch, result.inputs, result.detection_loss.item())
        scene = _told(scene, attack, _clouds(attack, result, batch))
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
        return Observation(_told(self._compared(batch, inputs), attack, {}), {**inputs})

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
            victim = Victim(self.target, batch, tuple(inputs))
            return victim.objective(inputs, Goal()).item()

    def replay(self, index: int, steps: Sequence[Inputs], scene: Scene) -> list[Scene]:
        """The scene as it was at each step of the attack."""
        batch = self.target.batch(self._data(index), [index])
        scenes = []
        for number, touched in enumerate(steps, start=1):
            changed = self._compared(batch, {**batch.inputs, **touched})
            step = (("step", f"{number} of {len(steps)}"),)
            scenes.append(replace(scene, attacked=changed.attacked, facts=step))
        return scenes


class _Recorder:
    """Keeps what the branches of the touched sensors are given, while it is entered.

    Attacks need not know: whatever they try must pass through these branches.
    """

    def __init__(
        self, detector: Any, touched: Sequence[str], steps: list[dict[str, Tensor]]
    ) -> None:
        self.branches = {name: detector.branches[name] for name in touched}
        self.steps = steps
        self.current: dict[str, Tensor] = {}
        self.handles: list[Any] = []

    def __enter__(self) -> None:
        for name, branch in self.branches.items():

            def keep(_: Any, inputs: tuple[Tensor, ...], name: str = name) -> None:
                self._keep(name, inputs[0])

            self.handles.append(branch.register_forward_pre_hook(keep))

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _keep(self, name: str, value: Tensor) -> None:
        """Of several restarts or draws side by side, the first stands for all."""
        self.current[name] = value[:1].detach().clone()
        if len(self.current) < len(self.branches):
            return
        last = self.steps[-1] if self.steps else {}
        same = last and all(torch.equal(last[k], v) for k, v in self.current.items())
        if not same:
            self.steps.append(self.current)
        self.current = {}


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
