"""Checks of an audit that look at the gradient and at chance.

Shape letters: N frames, C channels, H, W input size in pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from perception.attacks.base import Search
from perception.attacks.batch import AttackBatch
from perception.attacks.searches.pgd import PGD
from perception.attacks.target import NoGradientError, frozen
from perception.attacks.threats.budgets import frame_norm, generator
from perception.attacks.threats.maps import MapThreat
from perception.attacks.victim import Victim
from perception.evaluation.audit.subject import Check, Subject, _loss


def gradient_reaches(subject: Subject, threat: MapThreat) -> Check:
    """A gradient arrives at the raw sensor and is not zero by masking."""
    batch = subject.batches[0]
    gradient = _gradient(subject, threat, batch)
    nonzero = gradient != 0
    low, high = threat.box(batch)
    free = high > low
    seen = _returns(batch, threat.sensor)
    figures = {
        "share": _share(nonzero, free & seen),
        "share_empty": _share(nonzero, free & ~seen),
        "norm": float(frame_norm(gradient).mean()),
    }
    if not (free & ~seen).any():
        del figures["share_empty"]
    return Check(
        f"gradient reaches {threat.sensor}",
        figures["share"] >= subject.settings.gradient_share,
        figures,
        "share of input values with a gradient other than zero; of a depth map or "
        "points only pixels with a return are judged. Few: something rounds, "
        "saturates or detaches, and gradient attacks are blind",
    )


def no_gradient(sensor: str, error: NoGradientError) -> Check:
    """What is said where an attack finds that there is no gradient at all."""
    return Check(f"gradient reaches {sensor}", False, {"share": 0.0}, str(error))


def gradient_is_true(subject: Subject, threat: MapThreat) -> Check:
    """The gradient agrees with finite differences in random directions."""
    batch, settings = subject.batches[0], subject.settings
    with frozen(subject.target):
        search = Search(PGD(threat), Victim(subject.target, batch, threat.touched))
        start = _middle(threat, batch)
        _, gradient = search.ascent(start)
        low, high = threat.box(batch)
        half = settings.probe * (high - low) / 2
        slopes, differences = [], []
        for k in range(settings.directions):
            step = half * _direction(gradient, batch, k)
            ahead, behind = search.evaluate(start + step), search.evaluate(start - step)
            differences.append((ahead - behind) / 2)
            slopes.append((gradient * step).flatten(1).sum(dim=1))
    slope, difference = torch.stack(slopes), torch.stack(differences)
    scale = torch.maximum(slope.abs(), difference.abs())
    # Where nothing changes at all, nothing is confirmed: that is an error of 1.
    error = torch.where(scale > 0, (slope - difference).abs() / scale.clamp(1e-30), 1.0)
    figures = {"error": float(error.median()), "slope": float(slope.abs().mean())}
    return Check(
        f"gradient is true on {threat.sensor}",
        figures["error"] <= settings.gradient_error,
        figures,
        "median relative error against finite differences, 1 where neither changes. "
        "Large: the gradient does not tell how the loss changes (rounding, saturation, "
        "randomness)",
    )


def same_twice(subject: Subject, threat: MapThreat) -> Check:
    """The same input gives the same loss, the same seed the same attack."""
    search = subject.search(threat)
    batch = subject.batches[0]
    first, second = (search(subject.target, batch) for _ in range(2))
    variable = first.variable
    assert variable is not None
    with frozen(subject.target), torch.no_grad():
        victim = Victim(subject.target, batch, threat.touched)
        again = [
            victim.objective(threat.render(variable, batch), search.goal)
            for _ in range(2)
        ]
    figures = {
        "loss": float((again[0] - again[1]).abs().max()),
        "attack": float((_loss(first) - _loss(second)).abs().max()),
    }
    return Check(
        f"same twice on {threat.sensor}",
        max(figures.values()) <= 1e-4,
        figures,
        "largest difference of two evaluations of one input, and of two attacks with "
        "one seed. A detector that draws random numbers must be attacked in the mean "
        "over many draws",
    )


def same_in_any_batch(subject: Subject, threat: MapThreat) -> Check:
    """Frames attacked one by one fare as they do together."""
    search = subject.search(threat)
    batch = subject.batches[0]
    together = _loss(search(subject.target, batch))
    alone = torch.cat(
        [_loss(search(subject.target, batch.select([n]))) for n in range(len(batch))]
    )
    difference = float((alone.mean() - together.mean()).abs())
    figures = {"together": float(together.mean()), "alone": float(alone.mean())}
    return Check(
        f"same in any batch on {threat.sensor}",
        difference <= subject.settings.batching * float(together.mean()),
        figures,
        "mean damage of frames attacked together and one by one; sums in another order "
        "round differently, so that only means are compared",
    )


CHECKS = (gradient_reaches, gradient_is_true, same_twice, same_in_any_batch)


def _gradient(subject: Subject, threat: MapThreat, batch: AttackBatch) -> Tensor:
    """(N, C, H, W) gradient of the detection loss at a random start."""
    with frozen(subject.target):
        search = Search(PGD(threat), Victim(subject.target, batch, threat.touched))
        return search.ascent(_middle(threat, batch))[1]


def _middle(threat: MapThreat, batch: AttackBatch) -> Tensor:
    """A random point well inside the budget, where no value is at its edge."""
    low, high = threat.box(batch)
    return torch.lerp((low + high) / 2, threat.random(batch, 0), 0.5)


def _direction(gradient: Tensor, batch: AttackBatch, number: int) -> Tensor:
    """A random direction (N, C, H, W) on the gradient's side, values in [-1, 1].

    Wholly random directions are nearly level in so many dimensions.
    """
    draws = [
        torch.rand(gradient.shape[1:], generator=generator(number, frame))
        for frame in batch.ids
    ]
    length = torch.stack(draws).to(gradient)
    side = torch.where(length < 0.5, -1.0, 1.0)
    return torch.where(gradient == 0, side, gradient.sign()) * length


def _returns(batch: AttackBatch, sensor: str) -> Tensor:
    """(N, 1, H, W) where a sensor delivered anything."""
    clean = batch.inputs[sensor]
    if batch.sensors[sensor].kind == "image":
        return torch.ones_like(clean[:, :1], dtype=torch.bool)
    return (clean != 0).any(dim=1, keepdim=True)


def _share(values: Tensor, among: Tensor) -> float:
    among = among.expand_as(values)
    return float(values[among].float().mean()) if among.any() else 0.0
