"""The check of a target and its frames: what ``tools/check_target.py`` calls."""

from __future__ import annotations

from collections.abc import Callable

from perception.attacks.target import HasLosses
from perception.core.structures import DataError
from perception.evaluation.audit.checks import audit
from perception.evaluation.audit.subject import Check
from perception.evaluation.audit.target_checks import capabilities, check_target
from perception.evaluation.robustness.spec import DetectorRun
from perception.evaluation.robustness.subject import load_subject


def check_files(
    run: DetectorRun, *, audited: bool, tell: Callable[[str], None]
) -> tuple[int, int]:
    """How many checks failed, and how many there were.

    Args:
        run: Which target, which frames, how.
        audited: Whether the audit follows, if nothing failed and there are losses.
        tell: Called with every line.

    Raises:
        DataError: If the target or its frames cannot be loaded.
    """
    subject = load_subject(run)
    if len(subject.indices) < 2:
        raise DataError("frames are compared: at least 2 are needed")
    batches = list(subject.batches(run.running))
    for line in capabilities(subject.target, batches[0]):
        tell(line)

    def told(check: Check) -> None:
        tell(check.line())

    checks = check_target(subject.target, batches, told)
    wanted = audited and isinstance(subject.target, HasLosses)
    if wanted and all(check.passed for check in checks):
        checks += audit(subject.target, batches, notify=told).checks
    elif wanted:
        tell("no audit: it would judge what the failures above have spoilt")
    return sum(not check.passed for check in checks), len(checks)
