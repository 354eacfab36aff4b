"""The detectors of a page: runs of one detector on the same frames become one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from perception.core.structures import DataError, SensorSpec
from perception.evaluation.detection.kitti_ap import RECALLS
from perception.evaluation.robustness.results import (
    Accuracy,
    AttackResult,
    AuditResult,
    DetectorResult,
    Figure,
    Results,
    read_results,
)
from perception.visualization.report.interim import summarised


@dataclass(frozen=True)
class Run:
    """What one or several files say of one detector on one set of frames.

    Attributes:
        name: Unique on the page.
        result: Everything that was measured, from all files.
        files: The files, the first of which tells about data and scoring.
    """

    name: str
    result: DetectorResult
    files: tuple[Results, ...]

    @property
    def frame_ids(self) -> tuple[str, ...]:
        """The frames, in order."""
        return self.files[0].frame_ids

    @property
    def sensors(self) -> dict[str, SensorSpec]:
        """The detector's sensors, in the order of its gate."""
        return {name: self.files[0].sensors[name] for name in self.result.sensors}

    @property
    def attacks(self) -> Mapping[str, AttackResult]:
        """By name, corruptions included."""
        return self.result.attacks

    @cached_property
    def objects(self) -> dict[str, int]:
        """{class: objects to find at the headline difficulty}."""
        if self.result.clean is None:
            return {}
        level = self.files[0].scoring.headline
        classes = self.result.clean.headline.classes
        return {name: levels[level].objects for name, levels in classes.items()}

    @property
    def few_objects(self) -> bool:
        """Whether some class has so few objects that its AP stays below 100."""
        return any(0 < count < RECALLS for count in self.objects.values())

    def class_ap(self, accuracy: Accuracy | None, name: str) -> Figure:
        """AP of a class at the headline difficulty (R40)."""
        levels = {} if accuracy is None else accuracy.headline.classes.get(name, {})
        cell = levels.get(self.files[0].scoring.headline)
        return None if cell is None else cell.r40


def read_runs(paths: Sequence[str | os.PathLike]) -> list[Run]:
    """All detectors of all files; runs of one detector on the same frames are joined.

    Raises:
        DataError: If a file is no such results, of another version or damaged, or two
            files say different things of one attack.
    """
    runs: dict[tuple, Run] = {}
    for path in map(Path, paths):
        file = read_results(path)
        for result in file.detectors:
            if unknown := set(result.sensors) - file.sensors.keys():
                raise DataError(f"{path}: {result.name}: no sensor {min(unknown)!r}")
            same = ("config", "config_sha256", "checkpoint", "checkpoint_sha256")
            key = (*(getattr(result, name) for name in same), file.frame_ids)
            run = Run(result.name, result, (file,))
            try:
                runs[key] = _joined(runs[key], run) if key in runs else run
            except ValueError as error:
                raise DataError(f"{path}: {error}") from error
    return _with_unique_names(list(runs.values()))


def _joined(first: Run, second: Run) -> Run:
    """Everything that two runs of a detector on the same frames say of it.

    Raises:
        ValueError: If they say different things of an attack.
    """
    one, two = first.result, second.result
    for name in one.attacks.keys() & two.attacks.keys():
        _require_same(one.attacks[name], two.attacks[name])
    attacks = {**one.attacks, **_others(two.attacks, one.attacks)}
    joined = replace(
        one,
        clean=one.clean or two.clean,
        attacks=attacks,
        failed=_others({**two.failed, **one.failed}, attacks),
        not_applicable={**two.not_applicable, **one.not_applicable},
        curves={
            name: (*one.curves.get(name, ()), *two.curves.get(name, ()))
            for name in {**one.curves, **two.curves}
        },
        audit=_joined_audits(one.audit, two.audit),
        monitor=one.monitor or two.monitor,
    )
    return Run(first.name, summarised(joined), (*first.files, *second.files))


def _others(given: Mapping, known: Mapping) -> dict:
    return {name: value for name, value in given.items() if name not in known}


def _require_same(one: AttackResult, two: AttackResult) -> None:
    for what, before, now in (
        ("description", one.description, two.description),
        ("clean AP", one.ap.clean, two.ap.clean),
        ("AP", one.ap.attacked, two.ap.attacked),
    ):
        if before != now:
            raise ValueError(
                f"{one.name}: another {what} for this attack on the same detector and "
                "frames than an earlier file; make two pages, or leave one file out"
            )


def _joined_audits(
    one: AuditResult | None, two: AuditResult | None
) -> AuditResult | None:
    found = [audit for audit in (one, two) if audit is not None]
    failed = dict.fromkeys(name for audit in found for name in audit.failed)
    passed = all(audit.passed for audit in found)
    return AuditResult(passed, tuple(failed)) if found else None


def _with_unique_names(runs: Sequence[Run]) -> list[Run]:
    """Runs of one name are told apart by weights, or frames, or number: all of them."""
    unique = []
    for name in dict.fromkeys(run.name for run in runs):
        alike = [run for run in runs if run.name == name]
        marks: Iterable[Sequence[str]] = (
            [""] if len(alike) == 1 else [],
            [f" · {Path(run.result.checkpoint).name}" for run in alike],
            [f" · {run.result.checkpoint_sha256[:8]}" for run in alike],
            [f" · {len(run.frame_ids)} frames" for run in alike],
            [f" · {number}" for number in range(1, len(alike) + 1)],
        )
        mark = next(m for m in marks if len(set(m)) == len(alike))
        unique += [
            replace(run, name=name + m) for run, m in zip(alike, mark, strict=True)
        ]
    order = {id(run.result): number for number, run in enumerate(runs)}
    return sorted(unique, key=lambda run: order[id(run.result)])
