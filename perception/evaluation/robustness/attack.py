"""Attacks on one detector: what ``tools/attack.py`` calls."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tqdm import tqdm

from perception.core.files import write_json
from perception.core.provenance import Environment, distinct, versions
from perception.evaluation.robustness.cell import fill
from perception.evaluation.robustness.export import KittiSaver
from perception.evaluation.robustness.figures import attack_result, detector_result
from perception.evaluation.robustness.results import (
    AttackResult,
    DetectorResult,
    Results,
    RunInfo,
)
from perception.evaluation.robustness.spec import AttackRun, RobustnessRun
from perception.evaluation.robustness.store import FrameStore
from perception.evaluation.robustness.subject import Subject, load_subject


def run_attacks(run: AttackRun) -> Results:
    """Attack, and write ``out/results.json``.

    Each attack has a folder ``out/<name>`` with its settings, its frames' records and,
    if asked for, ``data``. ``results.json`` is there, and whole, after every attack.

    Raises:
        DataError: If anything asked for is impossible; before the first attack
            where that can be known.
    """
    begin, out, running = time.perf_counter(), Path(run.out), run.running
    subject = load_subject(run, run.attacks)
    common = subject.settings | {"save_data": run.save_data}
    stores = [
        FrameStore(
            out / one.perturbation.name,
            common | {"attack": one.description},
            resume=run.resume,
        )
        for one in subject.attacks
    ]
    now = Environment.here(running.device)
    for store in stores:
        store.check(now, subject.frame_ids)
    found: dict[str, AttackResult] = {}
    sensors = list(subject.target.sensors)
    for one, store in zip(subject.attacks, stores, strict=True):
        save = KittiSaver(store.folder / "data", subject) if run.save_data else None
        measured = fill(store, subject, one, running, save=save)
        result = attack_result(measured, sensors, subject.scoring)
        found[result.name] = result
        wall_s = time.perf_counter() - begin
        detector = detector_result(made_of(subject), sensors, found)
        results = write_results(out / "results.json", run, subject, [detector], wall_s)
        means = (result.ap.clean.headline.mean, result.mean)
        clean, left = ("n/a" if mean is None else f"{mean:.2f}" for mean in means)
        tqdm.write(f"{result.name}: mean AP {clean} -> {left}")
    return results


def made_of(subject: Subject) -> dict[str, str]:
    """What a detector was made of, as ``DetectorResult`` names it."""
    return {
        "name": subject.name,
        "config": str(subject.spec.config),
        "config_sha256": subject.settings["config_sha256"],
        "checkpoint": str(subject.spec.checkpoint),
        "checkpoint_sha256": subject.settings["checkpoint_sha256"],
    }


def write_results(
    path: Path,
    run: AttackRun | RobustnessRun,
    subject: Subject,
    detectors: Sequence[DetectorResult],
    wall_s: float,
    *,
    processes: int = 1,
    **more: Any,
) -> Results:
    """Write the results of a run that ends now; returns them.

    Args:
        path: The file.
        run: How it was started.
        subject: A detector, of whose frames, classes and scoring all are.
        detectors: What was measured.
        wall_s: Seconds it took.
        processes: How many worked at a time.
        **more: Further fields of :class:`Results`, or others than of this detector.
    """
    attacks = [one for detector in detectors for one in detector.attacks.values()]
    seeds = {one.threat.get("seed", 0) for one in attacks}
    info = RunInfo(
        command=run.running.command,
        attacks_file=str(run.attacks.attacks_file),
        suite=tuple(run.attacks.threats),
        data_root=subject.settings["data_root"],
        split=subject.settings["split"],
        seeds=tuple(sorted(seed for seed in seeds if isinstance(seed, int))),
        batch_size=run.running.batch_size,
        processes=processes,
        wall_s=round(wall_s, 2),
        finished=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions=versions(),
    )
    fields: Mapping[str, Any] = {
        "run": info,
        "frame_ids": tuple(subject.frame_ids),
        "classes": tuple(subject.target.classes),
        "sensors": dict(subject.target.sensors),
        "scoring": subject.scoring,
        "attacks": tuple(dict.fromkeys(one.name for one in attacks)),
        "baseline": detectors[0].name,
        "detectors": tuple(detectors),
        "environments": distinct(e for one in attacks for e in one.environments),
    }
    results = Results(**{**fields, **more})
    write_json(path, results.to_json())
    return results
