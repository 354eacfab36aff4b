"""What there is to do: detectors, the attacks that fit them, one job for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from perception.attacks import Adaptive, Attack, Perturbation
from perception.attacks.threats.budgets import BUDGETS, scaled_budgets
from perception.core.config import default_work_dir
from perception.core.structures import DataError
from perception.evaluation.robustness.attack_file import AttackFile
from perception.evaluation.robustness.old_results import settings_of
from perception.evaluation.robustness.old_spec import Job, RobustnessRun, Subject
from perception.evaluation.robustness.prepare import (
    AttackRun,
    Prepared,
    attack_config,
    choose_frames,
    fitting_attack,
    load_subject,
)


def subjects_of(run: RobustnessRun) -> list[Subject]:
    """Load every detector and name it.

    Raises:
        DataError: If one cannot be used, or they do not see the same frames.
    """
    groups = [default_work_dir(config).name for config, _ in run.detectors]
    names = list(run.names) or _numbered(groups)
    if len(names) != len(groups) or len(set(names)) < len(names):
        raise DataError(
            f"--names must name each of the {len(groups)} detectors differently, got "
            f"{', '.join(names)}"
        )
    if bad := [name for name in names if Path(name).name != name or name[0] == "."]:
        raise DataError(f"--names become folders; not usable: {', '.join(bad)}")
    if run.baseline not in (None, *names):
        raise DataError(f"--baseline {run.baseline}: detectors are {', '.join(names)}")
    subjects = []
    for name, group, (config, weights) in zip(
        names, groups, run.detectors, strict=True
    ):
        out = str(Path(run.common.out) / name)
        one = replace(run.common, config=config, checkpoint=weights, out=out)
        ready = load_subject(one)
        subjects.append(Subject(name, group, one, ready, _settings(one, ready)))
        if _frames_of(subjects[-1]) != _frames_of(subjects[0]):
            raise DataError(f"{names[0]} and {name} would be tested on other frames")
    return subjects


def jobs_of(run: RobustnessRun, subject: Subject) -> list[Job]:
    """Every attack that fits a detector; ``subject.refused`` learns of the others.

    Raises:
        DataError: If an attack's definition is wrong.
    """
    attack_file = AttackFile(run.common.attacks_file)
    jobs = {}
    for threat in attack_file.names(run.threats):
        if job := _job(attack_file, subject, threat):
            jobs[job.title] = job
    probes = list(subject.ready.detector.sensors)
    for threat in attack_file.names(run.probe, probes) if run.curve else ():
        for scale in run.curve:
            if job := _job(attack_file, subject, threat, scale):
                jobs.setdefault(job.title, replace(job, asked=False))
    found = list(jobs.values())
    return found + ([_audit_job(run, subject, attack_file)] if run.audit else [])


def _frames_of(subject: Subject) -> tuple[Path, list[str]]:
    return Path(subject.settings["data_root"]).resolve(), subject.frame_ids


def _job(
    attack_file: AttackFile, subject: Subject, threat: str, scale: float = 1.0
) -> Job | None:
    """None if the attack does not fit the detector."""
    plain, _ = attack_file.build(threat, source=subject.run.source)
    changes = {} if scale == 1 else _scaled(plain, scale)
    own = replace(subject.run, threats=(threat,), changes=changes)
    try:
        attack, description = fitting_attack(own, subject.ready, attack_file, threat)
    except DataError as error:
        subject.refused[threat] = str(error)
        return None
    settings = subject.settings
    if pictures := attack_file.right_pictures([threat]):
        settings = _settings(own, subject.ready, pictures)
    return Job(
        subject=subject.name,
        threat=threat,
        title=attack.name,
        run=own,
        settings=settings | {"attack": description},
        description=description,
        touched=attack.touched,
        cost=_cost(attack, subject.ready.detector),
        eps_scale=scale,
    )


def _audit_job(run: RobustnessRun, subject: Subject, attack_file: AttackFile) -> Job:
    ready, out = subject.ready, str(Path(subject.run.out) / "audit")
    names = attack_file.names(run.probe, list(ready.detector.sensors))
    attacks = [attack_file.build(name, source=subject.run.source)[1] for name in names]
    own = replace(subject.run, threats=run.probe, num=run.audit_num, out=out)
    ready = replace(ready, indices=choose_frames(ready.dataset, None, run.audit_num))
    return Job(
        kind="audit",
        subject=subject.name,
        threat="",
        title="audit",
        run=own,
        settings=_settings(own, ready)
        | {"attacks": attacks, "source": own.source and dict(own.source)},
    )


def _settings(
    run: AttackRun, ready: Prepared, pictures: Sequence[str] = ()
) -> dict[str, Any]:
    config = attack_config(run, pictures) if pictures else ready.config
    return settings_of(config, run.config, run.checkpoint, ready.dataset, ready.indices)


def _scaled(attack: Perturbation, scale: float) -> dict[str, Any]:
    """The fields of a threat model that hold its budget, times ``scale``."""
    threat = attack.threat if isinstance(attack, Attack) else attack
    if changes := scaled_budgets(threat, scale):
        return changes
    raise DataError(
        f"--curve: threat {attack.name!r} has no budget to scale (none of "
        f"{', '.join(BUDGETS)}); choose others with --probe"
    )


def _cost(attack: Perturbation, detector: Any) -> int:
    """Gradient steps a frame takes: a guess, for the time left."""
    if not isinstance(attack, Attack):
        return 1
    goals = 1
    if isinstance(attack, Adaptive) and detector.can_blame:
        count = len(detector.branches)
        goals = 1 + count * (len(attack.weights) + 1)
    return attack.threat.steps * attack.threat.restarts * goals


def _numbered(names: Sequence[str]) -> list[str]:
    """Each name once: a, b, a_2."""
    return [
        name if (n := names[: i + 1].count(name)) == 1 else f"{name}_{n}"
        for i, name in enumerate(names)
    ]
