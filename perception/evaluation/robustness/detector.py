"""What became of one detector under all attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perception.core.files import write_json
from perception.evaluation.robustness.attack_report import AttackReport
from perception.evaluation.robustness.audits import joined_audits, read_audit
from perception.evaluation.robustness.blame import gate_confusion, gate_rates
from perception.evaluation.robustness.figures import (
    Entry,
    failure_figures,
    mean_ap,
    mean_resilience_rate,
    oracle_per_sensor,
    worst_per_sensor,
    worst_single_sensor,
)
from perception.evaluation.robustness.gate import attack_figures, calibrated_monitor
from perception.evaluation.robustness.old_results import results_to_json
from perception.evaluation.robustness.old_spec import (
    Job,
    RobustnessRun,
    Subject,
)


def describe_detector(
    run: RobustnessRun,
    subject: Subject,
    jobs: Sequence[Job],
    failed: Mapping[str, str],
) -> dict[str, Any]:
    """One element of ``detectors``, from the records on disk.

    Also writes the detector's ``results.json``, every frame included.

    Args:
        run: The whole run.
        subject: The detector.
        jobs: Its jobs.
        failed: {title of a job: why it failed}.
    """
    attacked = [job for job in jobs if job.kind == "attack" and job.title not in failed]
    reports = [_report(subject, job) for job in attacked]
    content = _results(subject, reports)
    if content:
        write_json(Path(subject.run.out) / "results.json", content)
    entries: dict[str, dict[str, Any]] = content.get("attacks", {})
    sensors = list(subject.ready.detector.sensors)
    monitor = _add_gate_figures(entries, sensors)
    for entry in entries.values():
        del entry["frames"]
    attacks = {job.title: entries[job.title] for job in attacked if job.asked}
    clean = content.get("clean_ap")
    worst = worst_per_sensor(attacks)
    confusion = gate_confusion(attacks, sensors)
    failures = failure_figures(attacks)
    return {
        "name": subject.name,
        "config": subject.settings["config"],
        "config_sha256": subject.settings["config_sha256"],
        "checkpoint": str(subject.run.checkpoint),
        "checkpoint_sha256": subject.settings["checkpoint_sha256"],
        "sensors": sensors,
        "has_gate": any(entry["gate"] for entry in entries.values()),
        "clean": clean,
        "attacks": attacks,
        "frames_file": f"{subject.name}/results.json" if content else None,
        "not_applicable": subject.refused,
        "failed": dict(failed),
        "worst": worst,
        "worst_single_sensor": worst_single_sensor(worst),
        "oracle": oracle_per_sensor(attacks, worst),
        "gate_confusion": confusion,
        **gate_rates(confusion),
        "monitor": monitor,
        "failures": failures,
        "mCE": None,
        "mRR": mean_resilience_rate(failures, clean and clean["headline"]["mAP"]),
        "curves": _curves(attacked, entries, run.curve),
        "audit": _audit(run, subject),
        "wall_s": round(
            sum(r.seconds for report in reports for r in report.records), 2
        ),
    }


def _report(subject: Subject, job: Job) -> AttackReport:
    return AttackReport(
        name=job.title,
        touched=job.touched,
        sensors=tuple(subject.ready.detector.branches),
        attack=job.description,
        records=job.records(subject.frame_ids),
        scoring=subject.ready.scoring,
        made_on=job.store().made_on(),
    )


def _results(subject: Subject, reports: Sequence[AttackReport]) -> dict[str, Any]:
    """What ``tools/attack.py`` would write; empty without reports."""
    if not reports:
        return {}
    seconds = sum(record.seconds for report in reports for record in report.records)
    return results_to_json(
        reports,
        subject.settings,
        subject.run.invocation(),
        subject.ready.detector,
        subject.run.surroundings(round(seconds, 2)),
    )


def _add_gate_figures(
    entries: Mapping[str, dict[str, Any]], sensors: Sequence[str]
) -> dict[str, Any] | None:
    """Add ``auroc`` and ``delay`` to each gate; returns the monitor that was asked."""
    gated = [entry for entry in entries.values() if entry["gate"]]
    if not gated:
        return None
    clean = [row["gate_clean"] for row in gated[0]["frames"]]
    monitor, described = calibrated_monitor(clean, sensors) or (None, None)
    for entry in gated:
        attacked = [row["gate_attacked"] for row in entry["frames"]]
        entry["gate"] |= attack_figures(monitor, clean, attacked, entry["touched"])
    return described


def _curves(
    jobs: Sequence[Job], entries: Mapping[str, Entry], factors: Sequence[float]
) -> dict[str, list[dict[str, Any]]]:
    """Mean AP by the factor of the budget, for each attack with several."""
    curves: dict[str, list[dict[str, Any]]] = {}
    for job in sorted(jobs, key=lambda job: job.eps_scale):
        if job.eps_scale in factors:
            point = {"eps_scale": job.eps_scale, "mAP": mean_ap(entries[job.title])}
            curves.setdefault(job.threat, []).append(point)
    return {name: points for name, points in curves.items() if len(points) > 1}


def _audit(run: RobustnessRun, subject: Subject) -> dict[str, Any] | None:
    """What all audits of these weights found; None if there was none."""
    own = Path(subject.run.out) / "audit" / "audit.json"
    others = Path(run.audit_dir).rglob("audit.json") if run.audit_dir else []
    reports = [read_audit(path) for path in [own, *sorted(others)]]
    same = ("checkpoint_sha256", "config_sha256")
    audits = [
        report["audit"]
        for report in reports
        if all(report.get(key) == subject.settings[key] for key in same)
    ]
    return joined_audits(
        [
            {
                "passed": audit["passed"],
                "failed": [c["name"] for c in audit["checks"] if not c["passed"]],
            }
            for audit in audits
        ]
    )
