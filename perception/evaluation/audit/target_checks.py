"""What a target can do, and whether it can be believed.

What an adapter gets wrong lets attacks look weak or strong for no reason of the
detector's: :func:`check_target` finds it before an hour of attacks does. The audit
(``perception.evaluation.audit.checks``) then judges attacks on the target.

Shape letters: N frames, D detections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from perception.attacks.base import same
from perception.attacks.batch import AttackBatch
from perception.attacks.goals import Goal
from perception.attacks.objectives import FinalPredictions
from perception.attacks.searches.black_box import RandomNoise
from perception.attacks.target import (
    DoesNotApplyError,
    HasFeatures,
    HasGate,
    HasLosses,
    HasScores,
    Target,
    frozen,
)
from perception.attacks.threats.maps import MapThreat
from perception.core.structures import Objects, Prediction
from perception.corruptions.base import KINDS, STALE, Corruption, applicable
from perception.evaluation.audit.checks import gradient_is_true, gradient_reaches
from perception.evaluation.audit.subject import (
    AuditSettings,
    Check,
    Subject,
    range_threats,
)

_NEAR = 1e-3  # relative difference of losses that rounding explains
_NEAR_BOX = 0.1  # pixels, and hundredths of a score
_SEVEREST = 5


def capabilities(target: Target, batch: AttackBatch) -> list[str]:
    """A line for every step beyond the first: whether it is there, what it opens."""

    def told(step: type, opens: str, ask: Callable[[], object]) -> str:
        name = step.__name__.removeprefix("Has").lower()
        if not isinstance(target, step):
            return f"no   {name}: {opens}"
        try:
            with frozen(target), torch.no_grad():
                ask()
        except DoesNotApplyError as error:
            return f"no   {name}: {opens} ({error})"
        return f"yes  {name}: {opens}"

    one: Any = target
    scores, gate = "goals hide, create, rank, class:NAME", "goals about a gate"
    return [
        told(HasLosses, "gradient attacks", lambda: None),
        told(HasScores, scores, lambda: one.scores(batch.inputs, batch.samples)),
        told(HasGate, gate, lambda: one.gate(batch.inputs)),
        told(HasFeatures, "features of untouched sensors computed once", lambda: None),
    ]


def check_target(
    target: Target,
    batches: Sequence[AttackBatch],
    notify: Callable[[Check], None] | None = None,
) -> list[Check]:
    """Try what attacks and tables take for granted; an error is a failure.

    Args:
        target: Any.
        batches: Clean frames with labels, the first of two frames at least.
        notify: Called with every check as soon as it is done.
    """
    done = []
    for check in _checks(target, batches):
        done.append(check)
        if notify is not None:
            notify(check)
    return done


def _checks(target: Target, batches: Sequence[AttackBatch]) -> Iterator[Check]:
    # First, while the inputs are what they were.
    for check in (
        leaves_inputs_alone,
        well_formed,
        finds_objects,
        same_predictions,
        alone_as_together,
    ):
        yield _tried(check.__name__, lambda: check(target, batches))  # noqa: B023
    if isinstance(target, HasLosses):
        for one in (own_losses, own_gradients):
            yield _tried(one.__name__, lambda: one(target, batches))  # noqa: B023
        settings = AuditSettings()
        subject = Subject(target, batches, score=None, source=None, settings=settings)
        for threat in range_threats(target.sensors):
            for probe in (gradient_reaches, gradient_is_true):
                name = f"{probe.__name__} {threat.sensor}"
                yield _tried(name, lambda: probe(subject, threat))  # noqa: B023
    for sensor in target.sensors:
        for touch in (others_untouched, corruptions_change, is_used):
            name = f"{touch.__name__} {sensor}"
            yield _tried(name, lambda: touch(target, batches, sensor))  # noqa: B023


def _tried(name: str, check: Callable[[], Check]) -> Check:
    """The check; an error of the target's code, whatever it is, is a failure."""
    try:
        return check()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return Check(name.replace("_", " "), False, {}, reason)


def _said(target: Target, batch: AttackBatch) -> list[Prediction]:
    with torch.no_grad():
        return list(target.predict(batch.inputs, batch.samples))


def well_formed(target: Target, batches: Sequence[AttackBatch]) -> Check:
    """One prediction per frame, of known classes, with scores and boxes that are."""
    wrong, count = [], 0
    for batch in batches:
        said = _said(target, batch)
        if len(said) != len(batch):
            wrong.append(f"{len(said)} predictions of {len(batch)} frames")
        for found in (one.detections for one in said):
            count += len(found)
            scores = np.full(1, np.nan) if found.scores is None else found.scores
            if unknown := set(found.names) - set(target.classes):
                wrong.append(f"classes {sorted(unknown)} are not in `classes`")
            if not ((scores >= 0) & (scores <= 1)).all():
                wrong.append("scores are not all in 0 … 1")
            if not np.isfinite(found.boxes_px).all():
                wrong.append("boxes are not finite")
            elif (found.boxes_px[:, 2:] < found.boxes_px[:, :2]).any():
                wrong.append("boxes are not x1, y1, x2, y2 with x1 <= x2, y1 <= y2")
    return Check(
        "predictions are well formed",
        not wrong,
        {"detections": count},
        "; ".join(dict.fromkeys(wrong)),
    )


def finds_objects(target: Target, batches: Sequence[AttackBatch]) -> Check:
    """It finds some of what is labelled."""
    count = found = 0
    for batch in batches:
        for one, sample in zip(_said(target, batch), batch.samples, strict=True):
            true, said = sample.objects, one.detections
            true = true.select(np.isin(true.names, list(target.classes)))
            boxes = (torch.from_numpy(o.boxes_px) for o in (true, said))
            overlaps = bbox_overlaps(*boxes).numpy()
            match = (overlaps > 0.5) & (true.names[:, None] == said.names)
            count, found = count + len(true), found + int(match.any(axis=1).sum())
    share = found / max(count, 1)
    return Check(
        "finds labelled objects",
        found > 0,
        {"share": share, "of": count},
        "share of the labelled objects of its classes that a detection of the "
        "same class overlaps by half. None: channel order, scale of values, "
        "size, names of classes or the frame of the boxes are wrong, or it is "
        "not trained",
    )


def same_predictions(target: Target, batches: Sequence[AttackBatch]) -> Check:
    """The same input twice, the same prediction."""
    pairs = [(_said(target, one), _said(target, one)) for one in batches]
    worst = max(_apart(*pair) for pair in pairs)
    return Check(
        "predicts the same twice",
        worst <= _NEAR_BOX,
        {"difference": worst},
        "pixels or hundredths of a score between two predictions of one input. "
        "It draws random numbers: attack it in the mean over many draws",
    )


def alone_as_together(target: Target, batches: Sequence[AttackBatch]) -> Check:
    """Frames of a batch do not hear of each other."""
    batch = batches[0]
    alone = [one for n in range(len(batch)) for one in _said(target, batch.select([n]))]
    worst = _apart(_said(target, batch), alone)
    return Check(
        "predicts frames alone as together",
        worst <= _NEAR_BOX,
        {"difference": worst},
        "pixels or hundredths of a score between a frame predicted in its batch "
        "and by itself. Batch norm in training mode? Padding that is seen?",
    )


def leaves_inputs_alone(target: Target, batches: Sequence[AttackBatch]) -> Check:
    """Neither predictions nor losses write into the inputs."""
    batch = batches[0]
    before = {name: value.clone() for name, value in batch.inputs.items()}
    _said(target, batch)
    if isinstance(target, HasLosses):
        with frozen(target), torch.no_grad():
            target.losses(batch.inputs, batch.samples)
    changed = [n for n, value in before.items() if not same(batch.inputs[n], value)]
    for name, value in before.items():
        batch.inputs[name].copy_(value)
    return Check(
        "leaves its input alone",
        not changed,
        {},
        f"writes into the input of {', '.join(changed)}: clone it first",
    )


def own_losses(target: Any, batches: Sequence[AttackBatch]) -> Check:
    """(N,) losses, each its frame's own, the same every time."""
    batch = batches[0]
    with frozen(target), torch.no_grad():
        together = target.losses(batch.inputs, batch.samples)
        again = target.losses(batch.inputs, batch.samples)
        if together.shape != (len(batch),):
            shape = tuple(together.shape)
            return Check(
                "loss of each frame is its own",
                False,
                {},
                f"losses are {shape}, expected ({len(batch)},)",
            )
        ones = [batch.select([n]) for n in range(len(batch))]
        alone = torch.cat([target.losses(one.inputs, one.samples) for one in ones])
    scale = together.abs().clamp(min=1e-6)
    twice = float(((together - again).abs() / scale).max())
    apart = float(((together - alone).abs() / scale).max())
    passed = max(twice, apart) <= _NEAR and bool(together.isfinite().all())
    return Check(
        "loss of each frame is its own",
        passed,
        {"twice": twice, "alone": apart, "mean": float(together.mean())},
        "largest relative difference of the loss asked twice, and of a frame by "
        "itself and in its batch. Twice: it draws random numbers (dropout?). "
        "Alone: it is averaged over the batch, or batch norm is in training mode",
    )


def own_gradients(target: Any, batches: Sequence[AttackBatch]) -> Check:
    """A frame's loss depends on that frame alone."""
    batch = batches[0]
    inputs = {n: value.clone().requires_grad_() for n, value in batch.inputs.items()}
    with frozen(target), torch.enable_grad():
        loss = target.losses(inputs, batch.samples)[0]
        given: tuple[Tensor | None, ...] = (None,) * len(inputs)
        if loss.requires_grad:
            given = torch.autograd.grad(loss, [*inputs.values()], allow_unused=True)
    strange = max(
        (float(g[1:].abs().max()) for g in given if g is not None and len(g) > 1),
        default=0.0,
    )
    return Check(
        "gradient of a frame is its own",
        strange == 0,
        {"elsewhere": strange},
        "largest gradient of the first frame's loss to other frames",
    )


def others_untouched(
    target: Target, batches: Sequence[AttackBatch], sensor: str
) -> Check:
    """Noise on one sensor, through the whole machinery, leaves all others bit-equal."""
    (fields,) = [t for t in range_threats(target.sensors) if t.sensor == sensor]
    goal = Goal() if isinstance(target, HasLosses) else Goal(FinalPredictions())
    threat = MapThreat(name="noise", sensor=sensor, eps=fields.eps, steps=1, goal=goal)
    # The base class of all attacks raises an error if it is not so.
    RandomNoise(threat)(target, batches[0])
    return Check(f"noise on {sensor} leaves other sensors", True, {}, "")


def corruptions_change(
    target: Target, batches: Sequence[AttackBatch], sensor: str
) -> Check:
    """Every corruption, at its severest, changes what the sensor delivers."""
    kinds = [k for k in KINDS if k != STALE and applicable(k, target.sensors[sensor])]
    idle = []
    for kind in kinds:
        corruption = Corruption(name=kind, sensor=sensor, kind=kind, severity=_SEVEREST)
        try:
            corruption(target, batches[0])
        except Exception as error:  # NoEffectError, or that of somebody's own code
            idle.append(f"{kind} ({' '.join(str(error).split())[:120]})")
    return Check(
        f"corruptions change {sensor}",
        not idle,
        {"kinds": len(kinds)},
        f"without effect: {'; '.join(idle)}",
    )


def is_used(target: Target, batches: Sequence[AttackBatch], sensor: str) -> Check:
    """Without the sensor something else is said."""
    batch = batches[0]
    black = {**batch.inputs, sensor: torch.zeros_like(batch.inputs[sensor])}
    with torch.no_grad():
        blind = list(target.predict(black, batch.samples))
    change = _apart(_said(target, batch), blind)
    return Check(
        f"{sensor} is used",
        change > _NEAR_BOX,
        {"difference": change},
        "pixels or hundredths of a score by which predictions change when the "
        "sensor delivers nothing. None: the target does not read it, and "
        "attacks on it prove nothing",
    )


def _apart(said: Sequence[Prediction], again: Sequence[Prediction]) -> float:
    """Largest difference in pixels or hundredths of a score; infinite if of numbers."""
    pairs = zip(said, again, strict=True)
    return max(_objects_apart(a.detections, b.detections) for a, b in pairs)


def _objects_apart(one: Objects, other: Objects) -> float:
    # Which of two detections of nearly no score is still one is rounding.
    one, other = (
        o.select(o.scores > 0.05) if o.scores is not None else o for o in (one, other)
    )
    if len(one) != len(other):
        return float("inf")
    if not len(one):
        return 0.0
    keys = [
        np.lexsort((*np.round(o.boxes_px, 1).T, o.names.astype(str)))
        for o in (one, other)
    ]
    a, b = (o.select(k) for o, k in zip((one, other), keys, strict=True))
    if (a.names != b.names).any():
        return float("inf")
    scores = 0.0
    if a.scores is not None and b.scores is not None:
        scores = float(100 * np.abs(a.scores - b.scores).max())
    return max(float(np.abs(a.boxes_px - b.boxes_px).max()), scores)
