"""Attacks on one detector: what ``tools/attack.py`` calls."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tqdm import tqdm

from perception.core.provenance import Environment, distinct, versions
from perception.evaluation.robustness.attack_file import (
    AttackFile,
    Named,
    fitting_attacks,
)
from perception.evaluation.robustness.cell import fill
from perception.evaluation.robustness.export import KittiSaver
from perception.evaluation.robustness.figures import (
    Measured,
    attack_result,
    detector_result,
)
from perception.evaluation.robustness.results import (
    AttackResult,
    DetectorResult,
    Results,
    RunInfo,
)
from perception.evaluation.robustness.spec import AttackRun
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
    begin = time.perf_counter()
    attack_file = AttackFile(run.attacks.attacks_file)
    subject = load_subject(
        run.detector,
        run.frames,
        device=run.running.device,
        right_pictures=attack_file.right_pictures(attack_file.names(run.attacks.threats)),
        score_threshold=run.score_threshold,
    )
    named = fitting_attacks(attack_file, subject, run.attacks, run.changes, run.patch)
    stores = [_store(run, subject, one) for one in named]
    now = Environment.here(run.running.device)
    for store in stores:
        store.check(now, subject.frame_ids)
    attacks: dict[str, AttackResult] = {}
    for one, store in zip(named, stores, strict=True):
        attack, save = one.perturbation, None
        if run.save_data:
            save = KittiSaver(store.folder / "data", subject)
        fill(store, subject, attack, run.running, save=save)
        attacks[attack.name] = measured(subject, one, store)
        detector = detector_result(made_of(subject), list(subject.target.sensors), attacks)
        results = results_of(run, subject, [detector], begin)
        results.write(Path(run.out) / "results.json")
        clean, left = detector.clean_mean, attacks[attack.name].mean
        tqdm.write(f"{attack.name}: mean AP {_told(clean)} -> {_told(left)}")
    return results


def measured(
    subject: Subject, store: FrameStore, name: str, sensors, description: Mapping[str, Any]
) -> AttackResult:
    """The figures of an attack whose records are all in a store."""
