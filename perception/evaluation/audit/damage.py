"""Checks of an audit that compare the damage of several attacks.

"Damage" is the mean detection loss of the whole detector, "gain" what an attack adds to
that of the clean frames.
"""

from __future__ import annotations

from dataclasses import replace

from perception.attacks.searches.black_box import (
    RandomNoise,
    SquareAttack,
    TransferAttack,
)
from perception.attacks.searches.pgd import PGD
from perception.attacks.threats.budgets import scaled
from perception.attacks.threats.joint import JointThreat
from perception.attacks.threats.maps import MapThreat
from perception.evaluation.audit.subject import (
    Check,
    Subject,
    mean_damage,
    range_threats,
)

_SCALES = (0.25, 0.5, 1.0, 2.0)


def iterative_wins(subject: Subject, threat: MapThreat) -> Check:
    """Many steps do at least as much damage as one."""
    single = PGD(replace(threat, steps=1), step_fraction=1.0, random_start=False)
    clean = subject.clean(threat)
    figures = {
        "single_step": subject.damage(single) - clean,
        "iterative": subject.damage(subject.search(threat)) - clean,
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
        figures = {"gain": mean_damage(few) - clean, "more": mean_damage(many) - clean}
        limit = (1 + subject.settings.more_damage) * figures["gain"] + 1e-9
        passed = figures["more"] <= limit
    return Check(
        f"more steps change little on {threat.sensor}",
        passed,
        figures,
        "with twice the steps and one more restart. Much: report more steps",
    )


def grows_with_eps(subject: Subject, threat: MapThreat) -> Check:
    """A larger budget does more damage."""
    clean = subject.clean(threat)
    figures = {
        f"x{scale:g}": subject.damage(subject.search(scaled(threat, scale))) - clean
        for scale in _SCALES
    }
    gains = list(figures.values())
    pairs = zip(gains[1:], gains, strict=False)
    return Check(
        f"damage grows with eps on {threat.sensor}",
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
    white = subject.damage(subject.search(threat)) - clean
    gains = {name: subject.damage(rival) - clean for name, rival in rivals.items()}
    return Check(
        f"black box loses on {threat.sensor}",
        all(subject.at_least(white, gain) for gain in gains.values()),
        {"white_box": white} | gains,
        "gain of the gradient attack and of those without gradients. More by those: "
        "the gradients are masked",
    )


def whole_range(subject: Subject, steps: int) -> Check:
    """With every value of every sensor free, nothing is left of the detector."""
    parts = range_threats(subject.target.sensors, share=1.0)
    threat = JointThreat(name="everything", parts=parts, steps=steps)
    results = subject.attacked(subject.search(threat))
    ap = subject.scored(results)
    if ap is not None:
        figures, passed = {"ap": ap}, ap <= subject.settings.whole_range_ap
    else:
        noise = subject.damage(RandomNoise(replace(threat, steps=1)))
        figures = {"damage": mean_damage(results), "noise": noise}
        passed = figures["damage"] >= noise * (1 - subject.settings.slack)
    return Check(
        "whole range of all sensors leaves nothing",
        passed,
        figures,
        "AP in percent with unbounded budgets (without a score: damage, which must "
        "reach that of pure noise). More: the attack does not work",
    )


CHECKS = (iterative_wins, more_changes_little, grows_with_eps, black_box_loses)
