"""The detectors of a page: runs of one detector on the same frames become one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from perception.core.structures import DataError, SensorSpec
from perception.evaluation.robustness.figures import (
    corruption_figures,
    oracle_per_sensor,
    worst_per_sensor,
)
from perception.evaluation.robustness.gate_figures import gate_summary
from perception.evaluation.robustness.results import (
    Accuracy,
    AttackResult,
    AuditResult,
    DetectorResult,
    Figure,
    Results,
    read_results,
)
from perception.evaluation.robustness.tables import few


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
        clean, level = self.result.clean, self.files[0].scoring.headline
        classes = clean.headline.classes if clean else {}
        return {name: levels[level].objects for name, levels in classes.items()}

    @property
    def few_objects(self) -> bool:
        """Whether some class has so few objects that its AP stays below 100."""
        return any(map(few, self.objects.values()))

    def class_ap(self, accuracy: Accuracy | None, name: str) -> Figure:
        """AP of a class at the headline difficulty (R40)."""
        levels = accuracy.headline.classes.get(name, {}) if accuracy else {}
        cell = levels.get(self.files[0].scoring.headline)
        return cell.r40 if cell else None


def read_runs(paths: Sequence[str | os.PathLike]) -> list[Run]:
    """All detectors of all files; runs of one detector on the same frames are joined.

    Raises:
        DataError: If a file is no such results, of another version or damaged, or two
            files say different things of one attack.
    """
    runs: dict[tuple, Run] = {}
    for path in paths:
        file = read_results(path)
        for one in file.detectors:
            if unknown := set(one.sensors) - file.sensors.keys():
                raise DataError(f"{path}: {one.name}: no sensor {min(unknown)!r}")
            made = (
                one.config,
                one.config_sha256,
                one.checkpoint,
                one.checkpoint_sha256,
            )
            run, key = Run(one.name, one, (file,)), (*made, file.frame_ids)
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
    attacks = {**one.attacks, **{**two.attacks, **one.attacks}}
    failed = {**two.failed, **one.failed}
    audits = [audit for audit in (one.audit, two.audit) if audit]
    failing = dict.fromkeys(name for audit in audits for name in audit.failed)
    passed = all(audit.passed for audit in audits)
    worst = worst_per_sensor(attacks)
    result = replace(
        one,
        clean=one.clean or two.clean,
        attacks=attacks,
        failed={name: why for name, why in failed.items() if name not in attacks},
        not_applicable={**two.not_applicable, **one.not_applicable},
        worst=worst,
        oracle=oracle_per_sensor(attacks, worst),
        gate=gate_summary(attacks, one.sensors),
        corruptions=corruption_figures(attacks),
        curves={
            name: (*one.curves.get(name, ()), *two.curves.get(name, ()))
            for name in {**one.curves, **two.curves}
        },
        audit=AuditResult(passed, tuple(failing)) if audits else None,
    )
    return Run(first.name, result, (*first.files, *second.files))


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


def _with_unique_names(runs: Sequence[Run]) -> list[Run]:
    """Runs of one name each get what tells them apart, until no two are alike."""
    numbers = {id(run.result): f"{number}" for number, run in enumerate(runs, start=1)}
    marks: tuple[Callable[[Run], str], ...] = (
        lambda run: Path(run.result.checkpoint).name,
        lambda run: run.result.checkpoint_sha256[:8],
        lambda run: f"{len(run.frame_ids)} frames",
        lambda run: numbers[id(run.result)],
    )
    for mark in marks:
        alike: dict[str, set[str]] = {}
        for run in runs:
            alike.setdefault(run.name, set()).add(mark(run))
        runs = [
            replace(run, name=f"{run.name} · {mark(run)}")
            if len(alike[run.name]) > 1
            else run
            for run in runs
        ]
    return list(runs)
