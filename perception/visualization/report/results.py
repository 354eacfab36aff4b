"""Reads what a report page shows: results of tools/attack.py and tools/robustness.py.

Both formats become the same values, checked while they are read: nothing that comes
later meets a missing entry or a text where a number should be.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from perception.core.provenance import told
from perception.core.structures import Channel, DataError, SensorSpec
from perception.evaluation.robustness.figures import in_vain, is_failure
from perception.visualization.report.join import joined_runs
from perception.visualization.report.values import Attacked, Figures, Measured, number

ATTACKS, ROBUSTNESS = "perception attack results", "perception robustness results"
MAKERS = {ATTACKS: "tools/attack.py", ROBUSTNESS: "tools/robustness.py"}
VERSION = 1


def read_results(paths: Sequence[str | os.PathLike]) -> list[Measured]:
    """All detectors of all files; runs of one detector on the same frames are joined.

    Raises:
        DataError: If a file is no such results, of another version, incomplete, or
            about no frame, or two files say different things of one attack.
    """
    joined: dict[tuple, Measured] = {}
    for path in paths:
        for one in _read_file(Path(path)):
            key = (*sorted(one.made_with.items()), one.frame_ids)
            known = joined.get(key)
            try:
                joined[key] = one if known is None else joined_runs(known, one)
            except ValueError as error:
                raise DataError(f"{path}: {error}") from error
    return _with_unique_names(joined.values())


def _read_file(path: Path) -> list[Measured]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"no JSON ({error})"
        raise DataError(f"{path}: cannot read results: {reason}") from error
    kind = content.get("format") if isinstance(content, dict) else None
    if not isinstance(kind, str) or kind not in MAKERS:
        told = " or ".join(MAKERS.values())
        raise DataError(f"{path}: expected results of {told}, got format {kind!r}")
    if content.get("version") != VERSION:
        raise DataError(
            f"{path}: expected version {VERSION} of {kind!r}, got "
            f"{content.get('version')!r}; make it again with {MAKERS[kind]}"
        )
    try:
        found = [_detector(content, one) for one in content.get("detectors", [content])]
    except KeyError as error:
        raise DataError(f"{path}: incomplete results: no {error} entry") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: damaged results: {error}") from error
    if not found:
        raise DataError(f"{path}: holds no detector")
    if not all(one.frame_ids for one in found):
        raise DataError(f"{path}: holds no frame, so nothing was measured")
    return found


def _detector(file: Mapping[str, Any], one: Mapping[str, Any]) -> Measured:
    """One detector of a file; the results of tools/attack.py are their own detector."""
    level = file["scoring"]["headline"]
    sensors = {name: _sensor(spec) for name, spec in file["sensors"].items()}
    kept = {name: sensors[name] for name in one["sensors"]}
    clean = one["clean"] if "clean" in one else one["clean_ap"]
    made = {
        key: str(one[key])
        for key in ("config", "config_sha256", "checkpoint", "checkpoint_sha256")
    }
    run = {
        "command": str(file["command"]),
        "attacks file": str(file.get("attacks_file", "")),
        "data": str(file.get("data_root", "")),
        "split": str(file.get("split", "")),
        "seeds": ", ".join(map(str, file.get("seeds", []))),
        "finished": str(file.get("environment", {}).get("finished", "")),
    }
    collected = file.get("environment", {}).get("collected_with", {})
    run["collected with"] = ", ".join(f"{k} {v}" for k, v in collected.items())
    versions = file.get("environment", {}).get("versions", {})  # of older files
    run |= {str(name): str(version) for name, version in versions.items()}
    return Measured(
        name=str(one.get("name") or _name_from(made["config"])),
        made_with=made,
        run=run,
        frame_ids=tuple(map(str, file["frame_ids"])),
        sensors=kept,
        clean=_figures(clean, level),
        attacks={
            str(name): _attacked(name, entry, level)
            for name, entry in one["attacks"].items()
        },
        curves={
            str(name): list(points)
            for name, points in (one.get("curves") or {}).items()
        },
        failed={str(k): str(v) for k, v in (one.get("failed") or {}).items()},
        audit=_audit(one.get("audit")),
        baseline=str(file.get("baseline", "")),
        groups=tuple(file.get("groups", ())),
    )


def _audit(audit: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if audit is None:
        return None
    failed = [str(name) for name in audit.get("failed", [])]
    return {"passed": bool(audit["passed"]), "failed": failed}


def _sensor(spec: Mapping[str, Any]) -> SensorSpec:
    channels = tuple(
        Channel(one["name"], one["unit"], one["low"], one["high"])
        for one in spec["channels"]
    )
    columns = tuple(spec.get("columns", ()))
    return SensorSpec(spec["name"], spec["kind"], channels, columns)


def _attacked(name: str, entry: Mapping[str, Any], level: str) -> Attacked:
    timing = entry.get("timing") or {}
    return Attacked(
        name=str(name),
        touched=tuple(map(str, entry["touched"])),
        entry={key: value for key, value in entry.items() if key != "frames"},
        clean=_figures(entry["ap"]["clean"], level),
        attacked=_figures(entry["ap"]["attacked"], level),
        success={k: number(v) for k, v in (entry.get("success") or {}).items()},
        failure=is_failure(entry),
        in_vain=in_vain(entry),
        made_on=tuple(map(told, entry.get("made_on", ()))),
        seconds=number(timing.get("attack_s_per_frame")),
    )


def _figures(ap: Mapping[str, Any] | None, level: str) -> Figures:
    if ap is None:  # every attack on the detector failed
        return Figures(None, None, {})
    headline = ap["headline"]
    return Figures(
        number(headline["mAP"]),
        number(ap["kitti"]["mAP"]),
        {
            str(name): number(levels[level]["R40"])
            for name, levels in headline["classes"].items()
        },
    )


def _name_from(config: str) -> str:
    """``configs/synthetic/concat.py`` is ``synthetic_concat``."""
    parts = Path(config).with_suffix("").parts[-2:]
    return "_".join(part for part in parts if part.strip("/")) or "detector"


def _with_unique_names(measured: Iterable[Measured]) -> list[Measured]:
    """Told apart by checkpoint, then by frames, then by number."""
    named: dict[str, Measured] = {}
    for one in measured:
        sha = one.made_with["checkpoint_sha256"][:8]
        frames = f"{len(one.frame_ids)} frames"
        names = [one.name, f"{one.name} · {sha}", f"{one.name} · {frames}"]
        names += [f"{one.name} · {n}" for n in range(2, len(named) + 3)]
        same_weights = any(
            sha in n.made_with["checkpoint_sha256"] for n in named.values()
        )
        if same_weights:
            names.pop(1)
        name = next(name for name in names if name not in named)
        named[name] = replace(one, name=name)
    return list(named.values())
