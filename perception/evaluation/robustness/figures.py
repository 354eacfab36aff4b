"""From records to results: pure functions, each figure computed here and only once.

Shape letters: N frames, S sensors.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from scipy.stats import binomtest

from perception.core.gate_state import gate_state
from perception.core.structures import Objects
from perception.corruptions import CORRUPTIONS
from perception.evaluation.classification.accuracy import hits
from perception.evaluation.detection.bootstrap import mean_ap_interval
from perception.evaluation.detection.kitti_ap import Result, evaluate, mean_ap
from perception.evaluation.detection.rules import ClassRule, Scoring
from perception.evaluation.robustness.gate_figures import (
    calibrated,
    gate_result,
    gate_summary,
)
from perception.evaluation.robustness.records import (
    FrameRecord,
    Measured,
    Outcome,
    outcome_of,
)
from perception.evaluation.robustness.results import (
    Accuracy,
    AttackResult,
    ClassAP,
    CorruptionKind,
    DetectorResult,
    Figure,
    FrameResult,
    Group,
    Loss,
    MeanAP,
    Oracle,
    Spread,
    Stages,
    Success,
    Worst,
    single_sensor,
)
from perception.evaluation.robustness.space import displacement, space_ap

INEFFECTIVE_GAIN = 1.05
"""An attack must raise the detection loss by this factor to count as one."""

Attacks = Mapping[str, AttackResult]
Corruptions = Mapping[str, Mapping[str, Mapping[str, Figure]]]


def attack_result(
    measured: Measured, sensors: Sequence[str], scoring: Scoring
) -> AttackResult:
    """All figures of one perturbation of one target.

    Args:
        measured: Its records.
        sensors: The target's sensors, in the order of its gate.
        scoring: How detections are judged.
    """
    records, description = measured.records, measured.description
    outcomes = _outcomes(records, scoring)
    frames = tuple(
        _frame_result(record, outcome, sensors)
        for record, outcome in zip(records, outcomes, strict=True)
    )
    told = all(record.oracle is not None for record in records)
    loss = _loss(records)
    gate = gate_result(measured, sensors)
    changes = (c for frame in frames for c in frame.change.values())
    seconds = sum(record.seconds for record in records)
    return AttackResult(
        name=measured.name,
        attacked_sensors=measured.attacked_sensors,
        description=description,
        corruption=_corruption(description),
        ap=Stages(
            clean=_accuracy(records, "clean", scoring),
            attacked=_accuracy(records, "attacked", scoring),
            oracle=_accuracy(records, "oracle", scoring) if told else None,
        ),
        success=Success(
            rate=float(np.mean([outcome.success for outcome in outcomes])),
            **{
                name: sum(getattr(outcome, name) for outcome in outcomes)
                for name in ("found_clean", "lost", "false_clean", "false_new")
            },
        ),
        detection_loss=loss,
        gate=gate,
        ineffective=gate is not None and _is_ineffective(description, loss),
        changed=any(any(channels.values()) for channels in changes),
        seconds=round(seconds, 3),
        seconds_per_frame=round(seconds / len(records), 4),
        environments=measured.environments,
        frames=frames,
        displacement=displacement(records, scoring),
    )


def detector_result(
    made: Mapping[str, Any],
    sensors: Iterable[str],
    attacks: Attacks,
    *,
    all_attacks: Attacks | None = None,
    **more: Any,
) -> DetectorResult:
    """All figures of one detector but those that compare it with others.

    Args:
        made: ``name``, ``config``, ``checkpoint`` and their SHA-256, as
            :class:`DetectorResult` has them.
        sensors: Its sensors, in the order of its gate.
        attacks: What was asked for.
        all_attacks: Those and further ones, such as points of curves.
        **more: Further fields of :class:`DetectorResult`.
    """
    every = attacks if all_attacks is None else all_attacks
    first = next(iter(every.values()), None)
    clean = None if first is None else first.ap.clean
    sensors = tuple(sensors)
    worst, corruptions = worst_per_sensor(attacks), corruption_figures(attacks)
    gated = [one for one in every.values() if one.gate is not None]
    frames = gated[0].frames if gated else ()
    found = calibrated([frame.gate_clean for frame in frames], sensors)
    return DetectorResult(
        **made,
        sensors=sensors,
        clean=clean,
        attacks=attacks,
        worst=worst,
        oracle=oracle_per_sensor(attacks, worst),
        gate=gate_summary(attacks, sensors),
        monitor=found and found[1],
        corruptions=corruptions,
        mrr=mean_resilience_rate(corruptions, clean.headline.mean if clean else None),
        seconds=round(sum(one.seconds for one in every.values()), 2),
        **more,
    )


def compared(
    detectors: Sequence[DetectorResult], baseline: str
) -> tuple[DetectorResult, ...]:
    """The detectors with the figures that compare them with a baseline."""
    base = next(one for one in detectors if one.name == baseline)
    return tuple(
        replace(
            one,
            difference={} if one is base else difference(one, base),
            mce=mean_corruption_error(one.corruptions, base.corruptions),
        )
        for one in detectors
    )


def worst_per_sensor(attacks: Attacks) -> dict[str, Worst]:
    """For each attacked sensor the attack that leaves the least mean AP."""
    worst: dict[str, Worst] = {}
    for name, sensor in single_sensor(attacks).items():
        left = attacks[name].mean
        if left is not None and (sensor not in worst or left < worst[sensor].mean):
            worst[sensor] = Worst(name, left, attacks[name].ineffective)
    return worst


def oracle_per_sensor(
    attacks: Attacks, worst: Mapping[str, Worst]
) -> dict[str, Oracle]:
    """Each sensor's worst attack, the fusion being told which is compromised."""
    told = {}
    for sensor, found in worst.items():
        oracle = attacks[found.attack].ap.oracle
        if oracle is not None and (left := oracle.headline.mean) is not None:
            told[sensor] = Oracle(found.attack, left, left - found.mean)
    return told


def corruption_figures(attacks: Attacks) -> dict[str, dict[str, dict[str, Figure]]]:
    """{sensor: {kind: {severity: mean AP}}}."""
    figures: dict[str, dict[str, dict[str, Figure]]] = {}
    for one in attacks.values():
        if (what := one.corruption) is not None:
            kinds = figures.setdefault(what.sensor, {})
            kinds.setdefault(what.kind, {})[str(what.severity)] = one.mean
    return figures


def mean_corruption_error(
    corruptions: Corruptions, baseline: Corruptions
) -> dict[str, float]:
    """Per sensor and as ``mean`` of them, relative to a baseline; {} without any.

    Only kinds and severities that both have are compared.
    """
    figures = {}
    for sensor, kinds in corruptions.items():
        errors = []
        for kind, severities in kinds.items():
            theirs = baseline.get(sensor, {}).get(kind, {})
            pairs = [
                (100 - ours, 100 - reference)
                for severity, ours in severities.items()
                if ours is not None and (reference := theirs.get(severity)) is not None
            ]
            reference_error = sum(reference for _, reference in pairs)
            if reference_error > 0:
                errors.append(100 * sum(ours for ours, _ in pairs) / reference_error)
        if errors:
            figures[sensor] = statistics.fmean(errors)
    return _with_mean(figures)


def mean_resilience_rate(corruptions: Corruptions, clean: Figure) -> dict[str, float]:
    """Per sensor and as ``mean`` of them; {} without corruptions or clean AP."""
    if not clean:
        return {}
    figures = {}
    for sensor, kinds in corruptions.items():
        rates = [
            statistics.fmean(100 * value / clean for value in known)
            for severities in kinds.values()
            if (known := [v for v in severities.values() if v is not None])
        ]
        if rates:
            figures[sensor] = statistics.fmean(rates)
    return _with_mean(figures)


def difference(detector: DetectorResult, baseline: DetectorResult) -> dict[str, float]:
    """Mean AP minus the baseline's: clean and under each attack."""
    mine, theirs = (
        {"clean": one.clean_mean, **{k: a.mean for k, a in one.attacks.items()}}
        for one in (detector, baseline)
    )
    return {
        name: value - reference
        for name, value in mine.items()
        if value is not None and (reference := theirs.get(name)) is not None
    }


def groups(
    detectors: Sequence[DetectorResult], group_of: Mapping[str, str]
) -> tuple[Group, ...]:
    """Mean and spread of detectors that are the same config trained several times.

    Args:
        detectors: All.
        group_of: {detector's name: its group's}.
    """
    members: dict[str, list[DetectorResult]] = {}
    for detector in detectors:
        members.setdefault(group_of[detector.name], []).append(detector)
    return tuple(
        Group(
            name=name,
            detectors=tuple(one.name for one in group),
            clean=_spread(one.clean_mean for one in group),
            attacks=_spreads(
                [{k: a.mean for k, a in one.attacks.items()} for one in group]
            ),
            worst=_spreads(
                [{k: w.mean for k, w in one.worst.items()} for one in group]
            ),
        )
        for name, group in members.items()
        if len(group) > 1
    )


def _frame_result(
    record: FrameRecord, outcome: Outcome, sensors: Sequence[str]
) -> FrameResult:
    return FrameResult(
        frame_id=record.frame_id,
        index=record.index,
        success=outcome.success,
        **asdict(outcome),
        loss_clean=_finite(record.loss_clean),
        loss_attacked=_finite(record.loss_attacked),
        value=_finite(record.value),
        change={
            sensor: {name: _finite(value) for name, value in channels.items()}
            for sensor, channels in record.change.items()
        },
        gate_clean=record.gate_clean,
        gate_attacked=record.gate_attacked,
        state_clean=gate_state(record.gate_clean, sensors, record.alarm_clean),
        state_attacked=gate_state(record.gate_attacked, sensors, record.alarm_attacked),
    )


def _accuracy(records: Sequence[FrameRecord], when: str, scoring: Scoring) -> Accuracy:
    """AP of the detections ``clean``, ``attacked`` or ``oracle``."""
    truth = [record.truth for record in records]
    found = [getattr(record, when) for record in records]
    if scoring.metric == "accuracy":
        return _of_answers(truth, found, scoring)
    made = {
        name: _mean_ap(
            evaluate(
                truth,
                found,
                classes=rules,
                metrics=("2d",),
                difficulties=scoring.difficulties,
            ),
            rules,
            scoring.headline,
        )
        for name, rules in scoring.rules.items()
    }
    level = next(d for d in scoring.difficulties if d.name == scoring.headline)
    rules = scoring.rules["headline"]
    interval = mean_ap_interval(truth, found, classes=rules, difficulty=level)
    made["headline"] = replace(made["headline"], interval=interval)
    return Accuracy(**made, space=space_ap(truth, found, scoring))


def _outcomes(records: Sequence[FrameRecord], scoring: Scoring) -> list[Outcome]:
    """What was changed in each frame; of a classifier whether its answer is right."""
    if scoring.metric != "accuracy":
        how = (scoring.rules["headline"], scoring.difficulties[-1])
        return [outcome_of(one, *how, scoring.score_threshold) for one in records]
    truth = [record.truth for record in records]
    clean = hits(truth, [record.clean for record in records])
    lost = clean & ~hits(truth, [record.attacked for record in records])
    return [
        Outcome(int(was), int(gone), int(not was), int(gone))
        for was, gone in zip(clean, lost, strict=True)
    ]


def _of_answers(
    truth: Sequence[Objects], found: Sequence[Objects], scoring: Scoring
) -> Accuracy:
    """Shares of right answers in percent, in the places of AP; Wilson's interval."""
    right = hits(truth, found)
    names = np.array([one.names[0] for one in truth])
    classes = {}
    for name in scoring.overlaps:
        own = right[names == name]
        share = 100 * float(own.mean()) if len(own) else None
        classes[name] = {scoring.headline: ClassAP(share, share, len(own))}
    mean = 100 * float(right.mean())
    ends = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    interval = 100 * float(ends.low), 100 * float(ends.high)
    headline = MeanAP(mean, scoring.overlaps, classes, interval)
    return Accuracy(headline, MeanAP(None, {}, {}))


def _mean_ap(result: Result, rules: Sequence[ClassRule], headline: str) -> MeanAP:
    return MeanAP(
        mean=_finite(mean_ap(result, "2d", headline)),
        overlaps={rule.name: rule.overlap_for("2d") for rule in rules},
        classes={
            class_name: {
                difficulty: ClassAP(
                    r40=cell.r40 if cell.objects else None,
                    r11=cell.r11 if cell.objects else None,
                    objects=cell.objects,
                )
                for difficulty, cell in cells["2d"].items()
            }
            for class_name, cells in result.items()
        },
    )


def _loss(records: Sequence[FrameRecord]) -> Loss | None:
    """Mean detection loss; None for targets without losses."""
    clean = [record.loss_clean for record in records]
    attacked = [record.loss_attacked for record in records]
    if None in clean or None in attacked:
        return None
    means = (float(np.mean(np.array(losses, float))) for losses in (clean, attacked))
    return Loss(*map(_finite, means))


def _corruption(description: Mapping[str, Any]) -> CorruptionKind | None:
    if description["type"] not in CORRUPTIONS.module_dict:
        return None
    sensor = description.get("sensor") or "+".join(description["sensors"])
    return CorruptionKind(sensor, description["kind"], description["severity"])


def _is_ineffective(description: Mapping[str, Any], loss: Loss | None) -> bool:
    """Whether a plain gradient attack on a gated target gains hardly any loss.

    A gate that leaves the attacked sensor out leaves the attack no gradient either:
    what comes through is noise of its budget, and says little about the worst case.
    """
    if description["type"] not in ("PGD", "APGD") or loss is None:
        return False
    if description["threat"].get("goal") != "detection":
        return False
    if loss.clean is None or loss.attacked is None:
        return False
    return loss.attacked < INEFFECTIVE_GAIN * loss.clean


def _spreads(
    figures: Sequence[Mapping[str, Figure]],
) -> dict[str, Spread | None]:
    """Mean and spread of what all have."""
    shared = [name for name in figures[0] if all(name in one for one in figures)]
    return {name: _spread(one[name] for one in figures) for name in shared}


def _spread(values: Iterable[Figure]) -> Spread | None:
    """Mean and sample standard deviation; None if a value is missing."""
    numbers = list(values)
    known = [value for value in numbers if value is not None]
    if len(known) < max(2, len(numbers)):
        return None
    return Spread(statistics.fmean(known), statistics.stdev(known))


def _with_mean(figures: dict[str, float]) -> dict[str, float]:
    return {**figures, "mean": statistics.fmean(figures.values())} if figures else {}


def _finite(value: float | None) -> Figure:
    return value if value is not None and math.isfinite(value) else None
