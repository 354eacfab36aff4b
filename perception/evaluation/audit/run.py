"""The audit of a detector from files: what ``tools/attack.py --audit`` calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import TypedDict

from perception.attacks import Attack, MapThreat
from perception.attacks.batch import AttackBatch
from perception.core.files import read_json, write_json
from perception.core.schema import checked
from perception.core.structures import DataError
from perception.evaluation.audit.checks import audit
from perception.evaluation.audit.subject import AuditReport, AuditSettings, Check
from perception.evaluation.detection.scoring import headline_of
from perception.evaluation.robustness.results import AuditResult
from perception.evaluation.robustness.spec import AuditRun
from perception.evaluation.robustness.subject import Subject, load_subject
from perception.targets.loading import load_target


def audit_detector(
    run: AuditRun, notify: Callable[[Check], None] | None = None
) -> AuditReport:
    """Audit a detector under the run's attacks, and write ``out/audit.json``.

    Args:
        run: Its attacks must be of one type, on maps.
        notify: Called with every check as soon as it is done.

    Raises:
        DataError: If anything asked for is impossible.
    """
    running, asked = run.running, run.attacks
    subject = load_subject(run, asked)
    attacks, device = subject.attacks, running.device
    searches = [
        {key: value for key, value in one.description.items() if key != "threat"}
        for one in attacks
    ]
    found = [one.perturbation for one in attacks]
    threats = [
        attack.threat
        for attack in found
        if isinstance(attack, Attack) and isinstance(attack.threat, MapThreat)
    ]
    if len(threats) < len(attacks) or any(s != searches[0] for s in searches):
        raise DataError(
            "--audit takes attacks of one type on sensors' maps, such as camera_pgd "
            f"lidar_pgd depth_pgd; got {', '.join(asked.threats)}"
        )
    batches = list(subject.batches(running))
    source = None if asked.source is None else load_target(*asked.source, device=device)
    try:
        report = audit(
            subject.target,
            batches,
            threats=threats,
            score=_score(subject, batches),
            source=source,
            settings=AuditSettings(search=searches[0]),
            notify=notify,
        )
    except ValueError as error:
        raise DataError(str(error)) from error
    content = {
        "command": running.command,
        "checkpoint": str(run.detector.checkpoint),
        "attacks_file": str(asked.attacks_file),
        **subject.settings,
        "attacks": [one.description for one in attacks],
        "source": asked.source and list(asked.source),
        "audit": report.to_dict(),
    }
    write_json(Path(run.out) / "audit.json", content)
    return report


def read_audit(path: Path) -> dict[str, Any]:
    """What :func:`audit_detector` wrote; empty if it has not.

    Raises:
        DataError: If the file holds something else.
    """
    if not path.exists():
        return {}
    what = "report of an audit"
    content: dict[str, Any] = read_json(path, what=what)
    checked(_Audited, content, path, what=what)
    return content


class _Check(TypedDict):
    name: str
    passed: bool


class _Verdict(TypedDict):
    passed: bool
    checks: list[_Check]


class _Audited(TypedDict):
    """The part of the schema of ``audit.json`` that is read again."""

    audit: _Verdict


def joined_audits(audits: Iterable[AuditResult]) -> AuditResult | None:
    """What several audits of a detector found together; None of none."""
    found = list(audits)
    failed = dict.fromkeys(name for one in found for name in one.failed)
    passed = all(one.passed for one in found)
    return AuditResult(passed, tuple(failed)) if found else None


def _score(
    subject: Subject, batches: Sequence[AttackBatch]
) -> Callable[[Sequence[Mapping[str, Tensor]]], float]:
    """The headline figure of the detector on attacked inputs of the batches."""
    truth = [sample.objects for batch in batches for sample in batch.samples]

    @torch.no_grad()
    def score(attacked: Sequence[Mapping[str, Tensor]]) -> float:
        found = [
            prediction.detections
            for inputs, batch in zip(attacked, batches, strict=True)
            for prediction in subject.target.predict(inputs, batch.samples)
        ]
        return headline_of(truth, found, subject.scoring)

    return score
