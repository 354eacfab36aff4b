"""Is this attack, or this defence, fooling us?

Carlini et al., "On Evaluating Adversarial Robustness", 2019, and Athalye, Carlini and
Wagner, "Obfuscated Gradients Give a False Sense of Security", ICML 2018, list what must
hold of an honest evaluation. :func:`audit` tries it on a detector and says, with
figures, what holds and what does not. A detector that fails may be as weak as any: the
attacks merely do not find out.

"Gain" is what an attack adds to the mean detection loss of the clean frames.

Shape letters: N frames, C channels, H, W input size in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from perception.attacks.base import Search
from perception.attacks.batch import AttackBatch
from perception.attacks.searches.black_box import (
    RandomNoise,
    SquareAttack,
    TransferAttack,
)
from perception.attacks.searches.pgd import PGD
from perception.attacks.target import NoGradientError, Target, frozen
from perception.attacks.threats.budgets import frame_norm, generator, scaled
from perception.attacks.threats.joint import JointThreat
from perception.attacks.threats.maps import MapThreat
from perception.attacks.victim import Query, Victim
from perception.evaluation.audit.subject import (
    AuditReport,
    AuditSettings,
    Check,
    Score,
    Subject,
    losses_of,
    mean_loss,
    range_threats,
)

_SCALES = (0.25, 0.5, 1.0, 2.0)


def audit(
    target: Target,
    batches: Sequence[AttackBatch],
    *,
    threats: Sequence[MapThreat] | None = None,
    score: Score | None = None,
    source: Any = None,
    settings: AuditSettings | None = None,
    notify: Callable[[Check], None] | None = None,
) -> AuditReport:
    """Check a detector, and our attacks on it.

    Args:
        target: See :mod:`perception.attacks.target`; its state is left as it was.
        batches: Clean frames, e.g. ``DetectorTarget.batch``; eight frames are a start.
        threats: One per sensor to audit; default 16/255 of every channel's range.
        score: AP in percent of attacked inputs, see :class:`Subject`. Without it the
            detection loss is the judge.
        source: Another detector for the transfer attack; without one it is left out.
        settings: How hard to try and what to accept.
        notify: Called with every check as soon as it is done.

    Returns:
        The checks, sensor by sensor, then those of all sensors together.

    Raises:
        ValueError: If there are no frames, or a threat does not fit the detector.
    """
    if not batches:
        raise ValueError("an audit needs at least one batch of frames")
    subject = Subject(
        target,
        batches,
        score=score,
        source=source,
        settings=settings or AuditSettings(),
    )
    chosen = range_threats(target.sensors) if threats is None else threats
    done = []
    for check in _all_checks(subject, chosen):
        done.append(check)
        if notify is not None:
            notify(check)
    return AuditReport(tuple(done))


def _all_checks(subject: Subject, threats: Sequence[MapThreat]) -> Iterator[Check]:
    for threat in threats:
        threat.check(subject.target.sensors)
        try:
            for check in CHECKS:
                yield check(subject, threat)
        except NoGradientError as error:  # the first check needs one; so do the others
            yield _no_gradient(threat.sensor, error)
    try:
        yield _whole_range(subject, max(threat.steps for threat in threats))
    except NoGradientError as error:
        yield _no_gradient("all sensors", error)


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


def _no_gradient(sensor: str, error: NoGradientError) -> Check:
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
            search.goal.value(Query(victim, threat.render(variable, batch)))
            for _ in range(2)
        ]
    figures = {
        "loss": float((again[0] - again[1]).abs().max()),
        "attack": float((losses_of(first) - losses_of(second)).abs().max()),
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
    together = losses_of(search(subject.target, batch))
    frames = [batch.select([n]) for n in range(len(batch))]
    alone = torch.cat([losses_of(search(subject.target, one)) for one in frames])
    difference = float((alone.mean() - together.mean()).abs())
    figures = {"together": float(together.mean()), "alone": float(alone.mean())}
    return Check(
        f"same in any batch on {threat.sensor}",
        difference <= subject.settings.batching * float(together.mean()),
        figures,
        "mean loss of frames attacked together and one by one; sums in another order "
        "round differently, so that only means are compared",
    )


def iterative_wins(subject: Subject, threat: MapThreat) -> Check:
    """Many steps raise the loss at least as much as one."""
    single = PGD(replace(threat, steps=1), step_fraction=1.0, random_start=False)
    clean = subject.clean(threat)
    figures = {
        "single_step": subject.loss(single) - clean,
        "iterative": subject.loss(subject.search(threat)) - clean,
    }
    return Check(
        f"iterative beats single-step on {threat.sensor}",
        subject.at_least(figures["iterative"], figures["single_step"]),
        figures,
        "gain of one full step and of many. Less by many: the local gradient misleads",
    )


def more_changes_little(subject: Subject, threat: MapThreat) -> Check:
    """The attack has converged: more steps and restarts find nothing new."""
    more = replace(threat, steps=2 * threat.steps, restarts=threat.restarts + 1)
    few = subject.attacked(subject.search(threat))
    many = subject.attacked(subject.search(more))
    ap_few, ap_many = subject.scored(few), subject.scored(many)
    if ap_few is not None and ap_many is not None:
        figures = {"ap": ap_few, "ap_more": ap_many}
        passed = ap_few - ap_many < subject.settings.more_ap
    else:
        clean = subject.clean(threat)
        figures = {"gain": mean_loss(few) - clean, "more": mean_loss(many) - clean}
        limit = (1 + subject.settings.more_loss) * figures["gain"] + 1e-9
        passed = figures["more"] <= limit
    return Check(
        f"more steps change little on {threat.sensor}",
        passed,
        figures,
        "with twice the steps and one more restart. Much: report more steps",
    )


def grows_with_eps(subject: Subject, threat: MapThreat) -> Check:
    """A larger budget raises the loss more."""
    clean = subject.clean(threat)
    figures = {
        f"x{scale:g}": subject.loss(subject.search(scaled(threat, scale))) - clean
        for scale in _SCALES
    }
    gains = list(figures.values())
    pairs = zip(gains[1:], gains, strict=False)
    return Check(
        f"loss grows with eps on {threat.sensor}",
        all(subject.at_least(larger, smaller) for larger, smaller in pairs),
        figures,
        "gain at multiples of the budget. A fall: the attack fails, not the budget",
    )


def black_box_loses(subject: Subject, threat: MapThreat) -> Check:
    """Attacks without the gradients do not beat those with them."""
    clean = subject.clean(threat)
    asked = replace(threat, steps=subject.settings.queries, restarts=1)
    rivals = {"square": SquareAttack(asked), "noise": RandomNoise(asked)}
    if subject.source is not None:
        rivals["transfer"] = TransferAttack(
            threat, source=subject.source, search=subject.settings.search
        )
    white = subject.loss(subject.search(threat)) - clean
    gains = {name: subject.loss(rival) - clean for name, rival in rivals.items()}
    return Check(
        f"black box loses on {threat.sensor}",
        all(subject.at_least(white, gain) for gain in gains.values()),
        {"white_box": white} | gains,
        "gain of the gradient attack and of those without gradients. More by those: "
        "the gradients are masked",
    )


def _whole_range(subject: Subject, steps: int) -> Check:
    """With every value of every sensor free, nothing is left of the detector."""
    parts = range_threats(subject.target.sensors, share=1.0)
    threat = JointThreat(name="everything", parts=parts, steps=steps)
    results = subject.attacked(subject.search(threat))
    ap = subject.scored(results)
    if ap is not None:
        figures, passed = {"ap": ap}, ap <= subject.settings.whole_range_ap
    else:
        noise = subject.loss(RandomNoise(replace(threat, steps=1)))
        figures = {"loss": mean_loss(results), "noise": noise}
        passed = figures["loss"] >= noise * (1 - subject.settings.slack)
    return Check(
        "whole range of all sensors leaves nothing",
        passed,
        figures,
        "AP in percent with unbounded budgets (without a score: loss, which must "
        "reach that of pure noise). More: the attack does not work",
    )


CHECKS = (
    gradient_reaches,
    gradient_is_true,
    same_twice,
    same_in_any_batch,
    iterative_wins,
    more_changes_little,
    grows_with_eps,
    black_box_loses,
)


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
