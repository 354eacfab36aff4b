"""Attacks on one detector: what ``tools/attack.py`` calls."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any

from tqdm import tqdm

from perception.core.files import write_bytes
from perception.core.provenance import Environment, distinct, versions
from perception.core.ranks import Ranks
from perception.core.shards import WHOLE, Shard, shares
from perception.core.structures import DataError
from perception.evaluation.robustness.cell import fill
from perception.evaluation.robustness.export import KittiSaver
from perception.evaluation.robustness.figures import attack_result, detector_result
from perception.evaluation.robustness.results import (
    AttackResult,
    DetectorResult,
    Results,
    RunInfo,
    read_results,
)
from perception.evaluation.robustness.spec import AttackRun, RobustnessRun
from perception.evaluation.robustness.store import FrameStore, take_folder
from perception.evaluation.robustness.subject import Subject, load_subject


def run_attacks(run: AttackRun) -> Results | None:
    """Attack, and write ``out/results.json``.

    Each attack has a folder ``out/<name>`` with its settings, its frames' records and,
    if asked for, ``data``. ``results.json`` is there, and whole, after every attack.

    Returns:
        What it holds; None of a shard, whose records others join, and on all ranks but
        torchrun's first.

    Raises:
        DataError: If anything asked for is impossible; before the first attack
            where that can be known.
    """
    begin, out, running = time.perf_counter(), Path(run.out), run.running
    subject = load_subject(run, run.attacks)
    with Ranks() as ranks:
        mine, first = running.shard or ranks.shard, ranks.shard.index == 0
        if first:
            now = Environment.here(running.device)
            joining = run.resume or running.shard or running.merge is not None
            own = _stores(run, subject, mine, resume=bool(joining))
            for store in own:
                store.check(now, subject.frame_ids)
            for folder in running.merge or ():
                take_folder(own, out, Path(folder), with_data=run.save_data)
        ranks.wait()
        own = _stores(run, subject, mine)
        savers = [_saver(store, subject, run) for store in own]
        if mine != WHOLE:
            attacks = list(zip(subject.attacks, own, savers, strict=True))
            for share in shares(out, running.shard) if running.shard else [mine]:
                for turn, (one, store, save) in enumerate(attacks):
                    fill(
                        store, subject, one, running, save=save, shard=share, turn=turn
                    )
        ranks.wait()
    if running.shard is not None or not first:
        return None
    keep_earlier(
        out / "results.json", {one.perturbation.name for one in subject.attacks}
    )
    found: dict[str, AttackResult] = {}
    sensors = list(subject.target.sensors)
    whole = _stores(run, subject, WHOLE)
    for one, store, save in zip(subject.attacks, whole, savers, strict=True):
        measured = fill(store, subject, one, running, save=save)
        store.unite(subject.frame_ids)
        result = attack_result(measured, sensors, subject.scoring)
        found[result.name] = result
        wall_s = time.perf_counter() - begin
        detector = detector_result(made_of(subject), sensors, found)
        results = write_results(out / "results.json", run, subject, [detector], wall_s)
        means = (result.ap.clean.headline.mean, result.mean)
        clean, left = ("n/a" if mean is None else f"{mean:.2f}" for mean in means)
        star = " *" if result.ineffective else ""
        figure = subject.scoring.figure
        tqdm.write(f"{result.name}: {figure} {clean} -> {left}{star}")
    return results


def keep_earlier(path: Path, names: Set[str]) -> None:
    """Put results aside that hold an attack which is not among ``names``.

    What cannot be read as results is put aside as well.
    """
    if not path.exists():
        return
    try:
        known = {n for one in read_results(path).detectors for n in one.attacks}
    except DataError:
        known = None
    if known is not None and known <= names:
        return
    free = (path.with_name(f"{path.stem}_{n}{path.suffix}") for n in count(1))
    kept = next(one for one in free if not one.exists())
    path.rename(kept)
    tqdm.write(f"{path}: earlier results of other attacks are kept as {kept.name}")


def _stores(
    run: AttackRun, subject: Subject, writer: Shard, *, resume: bool = True
) -> list[FrameStore]:
    """That of each attack."""
    common = subject.settings | {"save_data": run.save_data}
    return [
        FrameStore(
            Path(run.out) / one.perturbation.name,
            common | {"attack": one.description},
            resume=resume,
            writer=writer,
        )
        for one in subject.attacks
    ]


def _saver(store: FrameStore, subject: Subject, run: AttackRun) -> KittiSaver | None:
    return KittiSaver(store.folder / "data", subject) if run.save_data else None


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
    write_bytes(path, results.to_json())
    return results
