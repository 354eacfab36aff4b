"""Detectors × threat models: what ``tools/robustness.py`` calls.

Everything is in ``DIR/<detector>/<attack>/frames.jsonl``, frame by frame, as soon as a
batch is done; figures are computed from there, so a run can stop and go on at any
point. ``robustness.json`` and ``robustness.md`` say what came of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tqdm import tqdm

from perception.core.files import replacing, write_json
from perception.core.provenance import distinct, made_on
from perception.core.structures import DataError
from perception.datasets.splits import listing
from perception.evaluation.robustness.attack_file import AttackFile
from perception.evaluation.robustness.attack_report import DEFINITIONS, plain
from perception.evaluation.robustness.detector import describe_detector
from perception.evaluation.robustness.figures import DEFINITIONS as COMPARISONS
from perception.evaluation.robustness.figures import (
    difference,
    groups,
    mean_corruption_error,
)
from perception.evaluation.robustness.jobs import Outcome, Ranks, execute
from perception.evaluation.robustness.old_results import versions
from perception.evaluation.robustness.old_spec import Job, RobustnessRun, Subject
from perception.evaluation.robustness.plan import jobs_of, subjects_of
from perception.evaluation.robustness.progress import progress_of
from perception.evaluation.robustness.tables import markdown

FORMAT = "perception robustness results"
FORMAT_VERSION = 1


def run_robustness(run: RobustnessRun) -> dict[str, Any] | None:
    """Attack, compare, and write ``robustness.json`` and ``robustness.md``.

    Returns:
        The content of ``robustness.json``; None on all ranks but torchrun's first.

    Raises:
        DataError: If anything asked for is impossible, before the first attack where
            that can be known; what fails later is in the results, as ``failed``.
    """
    begin = time.perf_counter()
    probes = run.probe if run.curve or run.audit else ()
    AttackFile(run.common.attacks_file).names([*run.threats, *probes])  # all known?
    with Ranks() as ranks:
        subjects = subjects_of(run)
        jobs = [job for subject in subjects for job in jobs_of(run, subject)]
        if not any(job.kind == "attack" for job in jobs):
            raise DataError(f"no attack of {', '.join(run.threats)} fits any detector")
        outcomes = _do(run, jobs, ranks)
    if ranks.rank > 0:
        return None
    failed = {
        (jobs[number].subject, jobs[number].title): outcome.reason
        for number, outcome in sorted(outcomes.items())
        if outcome.reason is not None
    }
    results = collect(run, subjects, jobs, failed)
    results["environment"] |= {
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processes": run.processes * ranks.count,
        "wall_s": round(time.perf_counter() - begin, 2),
    }
    out = Path(run.common.out)
    write_json(out / "robustness.json", results)
    with replacing(out / "robustness.md") as temporary:
        temporary.write_text(markdown(results), encoding="utf-8")
    return results


def _do(run: RobustnessRun, jobs: Sequence[Job], ranks: Ranks) -> dict[int, Outcome]:
    """Do what is not done yet; the outcomes of all ranks by the jobs' numbers."""
    if ranks.rank == 0:
        now = made_on(run.common.device)
        for job in jobs:
            if job.kind == "attack":  # refuses records of other settings, other devices
                store = job.store(resume=run.common.resume)
                store.check(now, job.settings["frame_ids"])
        _require_superset(run, jobs)
    ranks.wait()
    pending = [number for number in ranks.share(jobs) if not jobs[number].done()]
    with progress_of(jobs if ranks.rank == 0 else []):
        chosen = [jobs[number] for number in pending]
        ended = execute(chosen, run.processes, _tell)
    return ranks.gather(dict(zip(pending, ended, strict=True)))


def _require_superset(run: RobustnessRun, jobs: Sequence[Job]) -> None:
    """Raise DataError if the folder's summary has anything that this run leaves out.

    It would be lost, since the summary is written anew.
    """
    path = Path(run.common.out) / "robustness.json"
    if not path.is_file():
        return
    lost: list[str] = []
    try:
        for detector in json.loads(path.read_text(encoding="utf-8"))["detectors"]:
            name = detector["name"]
            own = [job for job in jobs if job.subject == name]
            if not own:
                lost.append(name)
                continue
            asked = {job.title for job in own if job.asked}
            points = {(job.threat, job.eps_scale) for job in own}
            lost += [f"{name}/{one}" for one in detector["attacks"] if one not in asked]
            lost += [
                f"{name}/{threat} --curve {point['eps_scale']:g}"
                for threat, curve in detector["curves"].items()
                for point in curve
                if (threat, point["eps_scale"]) not in points
            ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not results of this tool ({error!r})") from error
    if lost:
        raise DataError(
            f"{path}: has more than this command asks for ({listing(lost)}) and would "
            "lose it; ask for all of it (what is done is not done again), or choose "
            "another --out"
        )


def collect(
    run: RobustnessRun,
    subjects: Sequence[Subject],
    jobs: Sequence[Job],
    failed: Mapping[tuple[str, str], str],
) -> dict[str, Any]:
    """The content of ``robustness.json``, from the records on disk."""
    detectors = []
    for subject in subjects:
        own = [job for job in jobs if job.subject == subject.name]
        why = {
            title: why for (name, title), why in failed.items() if name == subject.name
        }
        detectors.append(describe_detector(run, subject, own, why))
    named = {detector["name"]: detector for detector in detectors}
    baseline = named[run.baseline or subjects[0].name]
    for detector in detectors:
        if detector is not baseline:
            detector["difference"] = difference(detector, baseline)
        detector["mCE"] = mean_corruption_error(
            detector["failures"], baseline["failures"]
        )
    first = subjects[0]
    threats = [job.description["threat"] for job in jobs if job.description]
    sensors: dict[str, Any] = {}
    for subject in subjects:
        sensors |= subject.ready.detector.sensors
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "command": run.common.command,
        "suite": " ".join(run.threats),
        "threats": AttackFile(run.common.attacks_file).names(run.threats),
        "attacks_file": str(run.common.attacks_file),
        "data_root": first.settings["data_root"],
        "split": first.settings["split"],
        "frame_ids": first.frame_ids,
        "seeds": sorted({threat.get("seed", 0) for threat in threats}),
        "classes": list(first.ready.detector.dataset_meta["classes"]),
        "sensors": plain(sensors),
        "scoring": plain(first.ready.scoring),
        "definitions": DEFINITIONS | COMPARISONS,
        "baseline": baseline["name"],
        "detectors": detectors,
        "groups": groups(detectors, {s.name: s.group for s in subjects}),
        "environment": {
            "made_on": distinct(
                one
                for detector in detectors
                for entry in detector["attacks"].values()
                for one in entry["made_on"]
            ),
            "collected_with": versions(),
        },
    }


def _tell(job: Job, outcome: Outcome) -> None:
    """A line about a job that ended."""
    how = "done" if outcome.reason is None else f"FAILED: {outcome.reason}"
    tqdm.write(f"{job.subject}  {job.title}: {how} ({outcome.wall_s:.0f} s)")
