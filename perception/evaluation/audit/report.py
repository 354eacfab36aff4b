"""Is this attack, or this defence, fooling us?

Carlini et al., "On Evaluating Adversarial Robustness", 2019, and Athalye, Carlini and
Wagner, "Obfuscated Gradients Give a False Sense of Security", ICML 2018, list what must
hold of an honest evaluation. :func:`audit` tries it on a detector and says, with
figures, what holds and what does not. A detector that fails may be as weak as any: the
attacks merely do not find out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from perception.attacks.batch import AttackBatch
from perception.attacks.target import NoGradientError, Target
from perception.attacks.threats.maps import MapThreat
from perception.evaluation.audit import damage as audit_damage
from perception.evaluation.audit import gradients as audit_gradients
from perception.evaluation.audit.subject import (
    AuditReport,
    AuditSettings,
    Check,
    Score,
    Subject,
    range_threats,
)

__all__ = ["AuditReport", "AuditSettings", "Check", "audit", "range_threats"]


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
        score: AP in percent of attacked inputs, see :class:`Subject`. Without it
            damage, the detection loss, is the judge.
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
            for check in (*audit_gradients.CHECKS, *audit_damage.CHECKS):
                yield check(subject, threat)
        except NoGradientError as error:  # the first check needs one; so do the others
            yield audit_gradients.no_gradient(threat.sensor, error)
    try:
        yield audit_damage.whole_range(subject, max(threat.steps for threat in threats))
    except NoGradientError as error:
        yield audit_gradients.no_gradient("all sensors", error)
