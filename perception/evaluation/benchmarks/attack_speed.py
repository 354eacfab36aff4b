"""How fast our attacks are, beside the least possible and beside another toolbox.

Shape letters: N frames, C channels, H, W input size in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from perception.attacks import PGD, AttackBatch, MapThreat
from perception.attacks.base import Search
from perception.attacks.threats.budgets import frame_norm
from perception.attacks.victim import Victim
from perception.core.structures import DataError
from perception.datasets.loading import build_dataset, build_loader
from perception.evaluation.audit.checks import range_threats
from perception.evaluation.benchmarks.timing import Timed
from perception.models import MultiModalDetector
from perception.models.loading import load_detector
from perception.models.modes import frozen
from perception.targets import DetectorTarget


def step_candidates(
    detector: MultiModalDetector, batch: AttackBatch, threat: MapThreat
) -> Timed:
    """One PGD step, and the forward and backward pass that no attack can do without.

    Args:
        detector: The detector, :func:`frozen` for both, as within an attack.
        batch: N clean frames.
        threat: The sensor attacked and its budget.

    Returns:
        ``by hand``: the attacked branch, fusion, head, losses and the gradient to the
        input, written out, with the other branches' features at hand; ``PGD step``.
    """
    attack = PGD(threat)
    search = Search(attack, Victim(DetectorTarget(detector), batch, threat.touched))
    variable = search.start(random=True)
    fraction = torch.full((len(variable),), attack.step_fraction)
    direction_before = torch.zeros_like(variable)
    with torch.no_grad():
        kept = detector.extract_feat(batch.inputs)

    def by_hand() -> torch.Tensor:
        image = variable.detach().requires_grad_()
        pyramids = kept | {threat.sensor: detector.encode(threat.sensor, image)}
        losses = detector.frame_losses(detector.fuse(pyramids), batch.samples)
        return torch.autograd.grad(losses.sum(), image)[0]

    def step() -> torch.Tensor:
        _, gradient = search.ascent(variable)
        direction = attack.momentum * direction_before + gradient / frame_norm(gradient)
        return search.step(variable, direction, fraction)

    return {"by hand": by_hand, "PGD step": step}


def whole_candidates(
    detector: MultiModalDetector, batch: AttackBatch, threat: MapThreat
) -> Timed:
    """The whole PGD attack by us, and by the Adversarial Robustness Toolbox.

    Args:
        detector: The detector.
        batch: N clean frames.
        threat: An ``linf`` threat; all take its budget, steps and step size.

    Returns:
        ``toolbox`` treats the detector as the toolbox's own PyTorch detectors treat
        theirs, ``toolbox, frozen`` spares it the gradient to the weights, ``ours``.

    Raises:
        DataError: If the toolbox is not installed.
    """
    clean = batch.inputs[threat.sensor].numpy()
    frames = np.arange(len(batch))
    ours = PGD(threat, random_start=False)

    def toolbox(*, freeze: bool) -> Callable[[], object]:
        attack = _toolbox_attack(detector, batch, ours, freeze=freeze)
        return lambda: attack.generate(clean, frames)

    return {
        "ours": lambda: ours(DetectorTarget(detector), batch),
        "toolbox": toolbox(freeze=False),
        "toolbox, frozen": toolbox(freeze=True),
    }


def _toolbox_attack(
    detector: MultiModalDetector, batch: AttackBatch, ours: PGD, *, freeze: bool
) -> Any:
    """The toolbox's PGD with the budget, steps and step size of ours."""
    try:
        from art.attacks.evasion import ProjectedGradientDescent
    except ImportError as error:
        raise DataError(
            "comparing attacks needs the adversarial-robustness-toolbox: "
            "pip install -e '.[dev]'"
        ) from error
    threat = ours.threat
    assert isinstance(threat, MapThreat)
    channels = batch.sensors[threat.sensor].channels
    eps = np.array([[[threat.eps_of(c.name)]] for c in channels], np.float32)
    return ProjectedGradientDescent(
        _estimator(detector, batch, threat.sensor, freeze=freeze),
        norm=np.inf,
        eps=np.broadcast_to(eps, batch.inputs[threat.sensor].shape[1:]).copy(),
        eps_step=np.broadcast_to(
            eps * ours.step_fraction, batch.inputs[threat.sensor].shape[1:]
        ).copy(),
        max_iter=threat.steps,
        batch_size=len(batch),
        verbose=False,
    )


def _estimator(
    detector: MultiModalDetector, batch: AttackBatch, sensor: str, *, freeze: bool
) -> Any:
    """The detector as the toolbox wants it: a loss gradient of one sensor's input.

    Written after its ``PyTorchObjectDetector`` (which itself needs torchvision): NumPy
    in, layers in eval mode, the whole model forward, ``zero_grad`` and ``backward``,
    NumPy out. The other sensors' inputs belong to the model, as in any estimator of a
    single input.
    """
    from art.estimators import BaseEstimator, LossGradientsMixin

    channels = batch.sensors[sensor].channels
    low = np.array([[[c.low]] for c in channels], np.float32)
    high = np.array([[[c.high]] for c in channels], np.float32)

    class Estimator(LossGradientsMixin, BaseEstimator):
        def __init__(self) -> None:
            super().__init__(model=detector, clip_values=None)
            # Its check of limits wants two numbers; np.clip takes one per channel.
            self._clip_values = (low, high)

        @property
        def input_shape(self) -> tuple[int, ...]:
            return tuple(batch.inputs[sensor].shape[1:])

        def fit(self, x: np.ndarray, y: Any, **kwargs: Any) -> None:
            raise NotImplementedError

        def predict(self, x: np.ndarray, **kwargs: Any) -> np.ndarray:
            raise NotImplementedError

        def loss_gradient(self, x: np.ndarray, y: Any, **kwargs: Any) -> np.ndarray:
            chosen = batch.select(list(y))
            image = torch.from_numpy(x).requires_grad_()
            detector.eval().requires_grad_(not freeze)
            inputs = dict(chosen.inputs) | {sensor: image}
            with detector.for_losses():
                fused = detector.fuse(detector.extract_feat(inputs))
                loss = detector.frame_losses(fused, chosen.samples).sum()
            detector.zero_grad()
            loss.backward()
            assert image.grad is not None
            return image.grad.numpy()

    return Estimator()


def compare_attacks(
    config: str,
    checkpoint: str | None = None,
    *,
    sensors: Sequence[str] | None = None,
    steps: int = 10,
    frames: int = 4,
) -> Iterator[tuple[str, Timed]]:
    """What to time, for each sensor: a single step, then the whole attack.

    Args:
        config: Config of the detector.
        checkpoint: Its weights; initial ones without.
        sensors: Sensors to attack; default all.
        steps: Of the whole attack.
        frames: Frames attacked at once, from the validation set.

    Yields:
        A title and the candidates, the reference first.

    Raises:
        DataError: If the detector lacks one of the sensors, or the set the frames.
    """
    detector = load_detector(config, checkpoint)
    dataset = build_dataset(config)
    if frames > len(dataset):
        raise DataError(f"{frames} frames at once, but only {len(dataset)} to attack")
    loader = build_loader(dataset, range(frames), batch_size=frames)
    batch = DetectorTarget(detector).batch(next(iter(loader)))
    threats = range_threats(detector.sensors, steps=steps)
    if unknown := set(sensors or ()) - set(detector.sensors):
        raise DataError(f"no sensors {sorted(unknown)}, only {list(detector.sensors)}")
    for threat in threats:
        if sensors is None or threat.sensor in sensors:
            with frozen(detector):  # until the caller has timed them
                yield (
                    f"{threat.sensor}: one step",
                    step_candidates(detector, batch, threat),
                )
            yield (
                f"{threat.sensor}: PGD of {steps} steps",
                whole_candidates(detector, batch, threat),
            )
