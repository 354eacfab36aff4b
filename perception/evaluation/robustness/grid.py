"""Detectors x attacks: what ``tools/robustness.py`` calls.

Everything is in ``DIR/<detector>/<attack>/frames.jsonl``, frame by frame, as soon as a
batch is done; figures are computed from there, so a run can stop and go on at any
point. ``robustness.json`` and ``robustness.md`` say what came of it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from perception.attacks import Adaptive, Attack, NestedBudgets, Perturbation
from perception.attacks.target import HasFeatures
from perception.attacks.threats.budgets import BUDGETS, scaled_budgets
from perception.core.files import read_bytes, replacing, write_bytes
from perception.core.provenance import Environment
from perception.core.ranks import Ranks
from perception.core.shards import WHOLE, shares
from perception.core.structures import DataError
from perception.datasets.splits import listing
from perception.evaluation.audit.run import joined_audits, read_audit
from perception.evaluation.robustness.attack import made_of, write_results
from perception.evaluation.robustness.attack_file import AttackFile
from perception.evaluation.robustness.figures import (
    attack_result,
    compared,
    detector_result,
    groups,
)
from perception.evaluation.robustness.jobs import Job, do_jobs, joined
from perception.evaluation.robustness.results import (
    AttackResult,
    AuditResult,
    CurvePoint,
    DetectorResult,
    Results,
    read_results,
)
from perception.evaluation.robustness.spec import (
    AttackRun,
    AuditRun,
    DetectorRun,
    FramesSpec,
    RobustnessRun,
)
from perception.evaluation.robustness.store import take_folder
from perception.evaluation.robustness.subject import (
    Subject,
    choose_frames,
    config_of,
    load_subject,
    name_of,
)
from perception.evaluation.robustness.tables import markdown

Failed = Mapping[tuple[str, str], str]
"""{(detector, title of its job): why it failed}."""


def run_robustness(run: RobustnessRun) -> Results | None:
    """Attack, compare, and write ``robustness.json`` and ``robustness.md``.

    Returns:
        What ``robustness.json`` holds; None of a shard, whose records others join, and
        on all ranks but torchrun's first.

    Raises:
        DataError: If anything asked for is impossible, before the first attack where
            that can be known; what fails later is in the results, as ``failed``.
    """
    begin = time.perf_counter()
    attack_file, threats = AttackFile(run.attacks.attacks_file), run.attacks.threats
    probes = run.probe if run.curve or run.audit else ()
    attack_file.names([*threats, *probes])  # all known?
    shard = run.running.shard
    with Ranks() as ranks:
        subjects = subjects_of(run)
        refused: dict[str, dict[str, str]] = {one.name: {} for one in subjects}
        jobs = [
            job
            for subject in subjects
            for job in jobs_of(run, subject, attack_file, refused[subject.name])
        ]
        if all(job.is_audit for job in jobs):
            raise DataError(f"no attack of {', '.join(threats)} fits any detector")
        mine = ranks.shard if shard is None else shard
        jobs = [replace(job, turn=i, writer=mine) for i, job in enumerate(jobs)]
        if ranks.shard.index == 0:
            _check_folder(run, jobs)
            for folder in run.running.merge or ():
                _take(run, jobs, Path(folder))
        ranks.wait()
        shown = ranks.shard.index == 0
        every = shares(run.out, shard) if shard else [mine]
        parts = [do_jobs(jobs, run.processes, one, progress=shown) for one in every]
        ended = joined(ranks.gather(joined(parts)))
    if ranks.shard.index > 0:
        return None
    if shard is not None:
        if bad := [how for how in ended.values() if how.reason and how.applies]:
            raise DataError(f"shard {shard}: {len(bad)} attack(s) failed, see above")
        return None
    for job in jobs:
        if not job.is_audit and job.folder.is_dir():
            replace(job, writer=WHOLE).store().unite(job.settings["frame_ids"])
    failed: dict[tuple[str, str], str] = {}
    for number, how in sorted(ended.items()):
        name, title = jobs[number].detector, jobs[number].title
        if how.reason is not None and how.applies:
            failed[name, title] = how.reason
        elif how.reason is not None:
            refused[name][title] = how.reason
    baseline = run.baseline or subjects[0].name
    alone = [
        measured_detector(run, one, jobs, refused[one.name], failed) for one in subjects
    ]
    detectors = compared(alone, baseline)
    group_of = {one.name: name_of(one.spec) for one in subjects}
    results = write_results(
        Path(run.out) / "robustness.json",
        run,
        subjects[0],
        detectors,
        time.perf_counter() - begin,
        processes=run.processes * ranks.shard.count,
        sensors={k: v for one in subjects for k, v in one.target.sensors.items()},
        attacks=tuple(attack_file.names(threats)),
        baseline=baseline,
        groups=groups(detectors, group_of),
    )
    with replacing(Path(run.out) / "robustness.md") as temporary:
        temporary.write_text(markdown(results), encoding="utf-8")
    return results


def subjects_of(run: RobustnessRun) -> list[Subject]:
    """Load every detector and name it.

    Raises:
        DataError: If one cannot be used, or they do not see the same frames.
    """
    paths = [name_of(one) for one in run.detectors]
    names = list(run.names) or _numbered(paths)
    if len(names) != len(paths) or len(set(names)) < len(names):
        raise DataError(
            f"--names must name each of the {len(paths)} detectors differently, got "
            f"{', '.join(names)}"
        )
    if bad := [name for name in names if Path(name).name != name or name[0] == "."]:
        raise DataError(f"--names become folders; not usable: {', '.join(bad)}")
    if run.baseline not in (None, *names):
        raise DataError(f"--baseline {run.baseline}: detectors are {', '.join(names)}")
    subjects: list[Subject] = []
    for name, spec in zip(names, run.detectors, strict=True):
        one = DetectorRun(detector=spec, frames=run.frames, running=run.running)
        subjects.append(load_subject(one, name=name))
        if _frames_of(subjects[-1]) != _frames_of(subjects[0]):
            raise DataError(f"{names[0]} and {name} would be tested on other frames")
    return subjects


def jobs_of(
    run: RobustnessRun,
    subject: Subject,
    attack_file: AttackFile,
    refused: dict[str, str],
) -> list[Job]:
    """One job for every attack that fits a detector, and for its audit.

    Args:
        run: What was asked for.
        subject: The detector.
        attack_file: Where attacks are defined.
        refused: Learns of the other attacks: {attack: why it does not apply}.

    Raises:
        DataError: If an attack's definition is wrong.
    """
    wanted = run.probe if run.curve or run.audit else ()
    probes = attack_file.names(wanted, subject.target.sensors)
    asked = [(threat, 1.0, True) for threat in attack_file.names(run.attacks.threats)]
    curve = [(threat, scale, False) for threat in probes for scale in run.curve]
    jobs: dict[str, Job] = {}
    for threat, scale, by_name in asked + curve:
        smaller = [one / scale for one in sorted(run.curve) if one < scale]
        job = _attack_job(
            run, subject, attack_file, threat, scale, () if by_name else smaller
        )
        if isinstance(job, str):
            refused[threat] = job
        else:
            jobs.setdefault(job.title, replace(job, asked=by_name))
    audits = [_audit_job(run, subject, attack_file, probes)] if run.audit else []
    return [*jobs.values(), *audits]


def measured_detector(
    run: RobustnessRun,
    subject: Subject,
    jobs: Sequence[Job],
    refused: Mapping[str, str],
    failed: Failed,
) -> DetectorResult:
    """What became of one detector, from the records on disk; without its frames.

    Also writes the detector's ``results.json``, every frame included.
    """
    out, sensors = Path(run.out) / subject.name, list(subject.target.sensors)
    why = {
        title: text for (name, title), text in failed.items() if name == subject.name
    }
    own = [
        job
        for job in jobs
        if job.detector == subject.name
        and not job.is_audit
        and job.title not in {*why, *refused}
    ]
    every = {
        job.title: attack_result(
            job.store().measured(
                subject.frame_ids,
                name=job.title,
                attacked_sensors=job.attacked_sensors,
                description=job.description,
            ),
            sensors,
            subject.scoring,
        )
        for job in own
    }
    made, frames_file = made_of(subject), f"{subject.name}/results.json"
    if every:
        whole = detector_result(made, sensors, every)
        path = out / "results.json"
        write_results(path, run, subject, [whole], whole.seconds)
    short = {name: replace(one, frames=()) for name, one in every.items()}
    return detector_result(
        made,
        sensors,
        {job.title: short[job.title] for job in own if job.asked},
        all_attacks=every,
        not_applicable=refused,
        failed=why,
        curves=_curves(own, every, run.curve),
        audit=_audit(run, subject),
        frames_file=frames_file if every else None,
    )


def _take(run: RobustnessRun, jobs: Sequence[Job], folder: Path) -> None:
    """Add another machine's records, and its audits, to the run's own."""
    out = Path(run.out)
    for job in (job for job in jobs if job.is_audit):
        report = folder / job.folder.relative_to(out) / "audit.json"
        if report.is_file() and not job.done():
            write_bytes(job.folder / "audit.json", read_bytes(report))
    take_folder([job.store() for job in jobs if not job.is_audit], out, folder)


def _check_folder(run: RobustnessRun, jobs: Sequence[Job]) -> None:
    """Raise DataError if what is in the folder does not go with what is asked for.

    Records of other settings or other devices; or a summary that has anything that
    this run leaves out, which would be lost, since it is written anew.
    """
    now = Environment.here(run.running.device)
    for job in jobs:
        if not job.is_audit:
            job.store(resume=run.resume).check(now, job.settings["frame_ids"])
    path = Path(run.out) / "robustness.json"
    if not path.exists():
        return
    lost: list[str] = []
    for detector in read_results(path).detectors:
        name = detector.name
        own = [job for job in jobs if job.detector == name]
        if not own:
            lost.append(name)
            continue
        asked = {job.title for job in own if job.asked}
        points = {(job.threat, job.scale) for job in own}
        lost += [f"{name}/{one}" for one in detector.attacks if one not in asked]
        lost += [
            f"{name}/{threat} --curve {point.scale:g}"
            for threat, curve in detector.curves.items()
            for point in curve
            if (threat, point.scale) not in points
        ]
    if lost:
        raise DataError(
            f"{path}: has more than this command asks for ({listing(lost)}) and would "
            "lose it; ask for all of it (what is done is not done again), or choose "
            "another --out"
        )


def _attack_job(
    run: RobustnessRun,
    subject: Subject,
    attack_file: AttackFile,
    threat: str,
    scale: float,
    smaller: Sequence[float],
) -> Job | str:
    """The job, or why the attack does not apply to the detector.

    Args:
        run: What was asked for.
        subject: The detector.
        attack_file: Where attacks are defined.
        threat: Name of the attack.
        scale: Factor of its budget.
        smaller: Factors of that budget to search first.
    """
    source = run.attacks.source
    plain = attack_file.build(threat, source=source).perturbation
    changes = {} if scale == 1 else _scaled(plain, scale)
    try:
        named = attack_file.build(
            threat,
            changes,
            source=source,
            smaller=smaller,
            target=subject.target,
            replay=subject.dataset,
        )
    except DataError as error:
        return str(error)
    if pictures := attack_file.right_pictures([threat]):
        config = config_of(subject.spec, run.frames.split, pictures)
        subject = replace(subject, config=config)
    attack = named.perturbation
    return Job(
        detector=subject.name,
        run=AttackRun(
            detector=subject.spec,
            attacks=replace(
                run.attacks, threats=(threat,), changes=changes, smaller=smaller
            ),
            out=str(Path(run.out) / subject.name),
            frames=run.frames,
            running=run.running,
        ),
        title=attack.name,
        threat=threat,
        settings=subject.settings | {"attack": named.description},
        description=named.description,
        attacked_sensors=attack.touched,
        cost=_cost(attack, subject),
        scale=scale,
    )


def _audit_job(
    run: RobustnessRun,
    subject: Subject,
    attack_file: AttackFile,
    probes: Sequence[str],
) -> Job:
    source = run.attacks.source
    frames = FramesSpec(split=run.frames.split, num=run.audit_num)
    indices = choose_frames(subject.dataset, None, run.audit_num)
    settings = replace(subject, indices=indices).settings | {
        "attacks": [attack_file.build(n, source=source).description for n in probes],
        "source": source and list(source),
    }
    own = AuditRun(
        detector=subject.spec,
        attacks=replace(run.attacks, threats=run.probe),
        out=str(Path(run.out) / subject.name / "audit"),
        frames=frames,
        running=run.running,
    )
    return Job(detector=subject.name, run=own, settings=settings)


def _curves(
    jobs: Sequence[Job], results: Mapping[str, AttackResult], factors: Sequence[float]
) -> dict[str, tuple[CurvePoint, ...]]:
    """Mean AP by the factor of the budget, for each attack with several."""
    curves: dict[str, dict[float, CurvePoint]] = {}
    # The curve's own attack counts, which began with smaller budgets, if there is one.
    for job in sorted(jobs, key=lambda job: (job.scale, not job.asked)):
        if job.scale in factors:
            found = results[job.title].ap.attacked.headline
            point = CurvePoint(job.scale, found.mean, found.interval)
            curves.setdefault(job.threat, {})[job.scale] = point
    several = {name: found for name, found in curves.items() if len(found) > 1}
    return {name: tuple(found.values()) for name, found in several.items()}


def _audit(run: RobustnessRun, subject: Subject) -> AuditResult | None:
    """What all audits of these weights found; None if there was none."""
    own = Path(run.out) / subject.name / "audit" / "audit.json"
    others = Path(run.audit_dir).rglob("audit.json") if run.audit_dir else []
    reports = [read_audit(path) for path in [own, *sorted(others)]]
    same = ("checkpoint_sha256", "config_sha256")
    return joined_audits(
        AuditResult(
            report["audit"]["passed"],
            tuple(c["name"] for c in report["audit"]["checks"] if not c["passed"]),
        )
        for report in reports
        if all(report.get(key) == subject.settings[key] for key in same)
    )


def _frames_of(subject: Subject) -> tuple[Path, list[str]]:
    return Path(subject.settings["data_root"]).resolve(), subject.frame_ids


def _scaled(attack: Perturbation, scale: float) -> dict[str, Any]:
    """The fields of a threat model that hold its budget, times ``scale``."""
    threat = attack.threat if isinstance(attack, Attack) else attack
    changes = scaled_budgets(threat, scale)
    if changes and "parts" not in changes:
        return changes
    raise DataError(
        f"--curve: threat {attack.name!r} has no budget to scale (none of "
        f"{', '.join(BUDGETS)}); choose others with --probe"
    )


def _cost(attack: Perturbation, subject: Subject) -> int:
    """Gradient steps a frame takes: a guess, for the time left."""
    if not isinstance(attack, Attack):
        return 1
    goals = 2 + len(attack.smaller) if isinstance(attack, NestedBudgets) else 1
    if isinstance(attack, Adaptive) and isinstance(subject.target, HasFeatures):
        goals = 1 + len(subject.target.sensors) * (len(attack.weights) + 1)
    return attack.threat.steps * attack.threat.restarts * goals


def _numbered(names: Sequence[str]) -> list[str]:
    """Each name once: a, b, a_2."""
    return [
        name if (n := names[: i + 1].count(name)) == 1 else f"{name}_{n}"
        for i, name in enumerate(names)
    ]
