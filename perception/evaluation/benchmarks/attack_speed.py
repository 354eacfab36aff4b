"""How fast our attacks are, beside the least possible and beside another toolbox.

Shape letters: N frames, C channels, H, W input size in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from perception.attacks import PGD, AttackBatch, MapThreat
from perception.attacks.base import Search
from perception.attacks.target import Target
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
from perception.targets.art import art_estimator


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
        ``ours`` and ``toolbox``.

    Raises:
        DataError: If the toolbox is not installed.
    """
    target = DetectorTarget(detector)
    clean = batch.inputs[threat.sensor].numpy()
    ours = PGD(threat, random_start=False)
    theirs = toolbox_attack(target, batch, ours)
    return {
        "ours": lambda: ours(target, batch),
        "toolbox": lambda: theirs.generate(clean, np.arange(len(batch))),
    }


def toolbox_attack(target: Target, batch: AttackBatch, ours: PGD) -> Any:
    """The toolbox's PGD with the budget, steps and step size of ours."""
    estimator = art_estimator(target, batch, ours.threat.sensor)
    # Here for start-up time; the line above has told whether it is there.
    from art.attacks.evasion import ProjectedGradientDescent

    threat = ours.threat
    assert isinstance(threat, MapThreat)
    channels = batch.sensors[threat.sensor].channels
    eps = np.array([[[threat.eps_of(c.name)]] for c in channels], np.float32)
    every = np.broadcast_to(eps, batch.inputs[threat.sensor].shape[1:])
    return ProjectedGradientDescent(
        estimator,
        norm=np.inf,
        eps=every.copy(),
        eps_step=every * np.float32(ours.step_fraction),
        max_iter=threat.steps,
        batch_size=len(batch),
        verbose=False,
    )


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
