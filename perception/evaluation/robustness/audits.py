"""What audits of a detector found, as files and together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perception.core.structures import DataError


def read_audit(path: Path) -> dict[str, Any]:
    """What ``tools/attack.py --audit`` wrote; empty if it has not.

    Raises:
        DataError: If the file holds something else.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content["audit"]["passed"], bool):
            raise TypeError("audit.passed is neither true nor false")
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: not the report of an audit ({error})") from error
    return content


def joined_audits(audits: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What several audits of a detector found together; None of none.

    Each says whether it ``passed`` and names the checks that ``failed``.
    """
    if not audits:
        return None
    failed = [name for audit in audits for name in audit["failed"]]
    return {
        "passed": all(audit["passed"] for audit in audits),
        "failed": list(dict.fromkeys(failed)),
    }
