"""Runs of attacks over a data set: what ``tools/attack.py`` calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from perception.attacks import Attack, MapThreat, Perturbation
from perception.attacks.batch import AttackBatch
from perception.core.files import write_json
from perception.core.provenance import made_on
from perception.core.structures import DataError
from perception.datasets.loading import build_loader, numbered_batches
from perception.evaluation.audit.report import AuditReport, AuditSettings, Check, audit
from perception.evaluation.detection.kitti_ap import evaluate, mean_ap
from perception.evaluation.robustness.attack_report import AttackReport
from perception.evaluation.robustness.cell import evaluate_attack, require_labels
from perception.evaluation.robustness.export import KittiSaver
from perception.evaluation.robustness.old_results import results_to_json, settings_of
from perception.evaluation.robustness.prepare import AttackRun, Prepared, prepare
from perception.evaluation.robustness.store import FrameStore
from perception.targets import DetectorTarget
from perception.targets.loading import load_target


def run_attacks(run: AttackRun) -> list[AttackReport]:
    """Attack, report, and write ``out/results.json``.

    Each attack has a folder ``out/<name>`` with its settings, its frames' records and,
    if asked for, ``data``. ``results.json`` is there, and whole, after every attack.

    Raises:
        DataError: If anything asked for is impossible; before the first attack
            where that can be known.
    """
    begin = time.perf_counter()
    ready = prepare(run)
    common = _settings(run, ready)
    stores = [
        FrameStore(
            Path(run.out) / attack.name,
            common | {"attack": description},
            resume=run.resume,
        )
        for attack, description in ready.attacks
    ]
    now = made_on(run.device)
    for store in stores:
        store.check(now, common["frame_ids"])
    reports: list[AttackReport] = []
    for (attack, description), store in zip(ready.attacks, stores, strict=True):
        report = evaluate_attack(
            ready.detector,
            ready.dataset,
            attack,
            ready.indices,
            scoring=ready.scoring,
            store=store,
            save=_saver(run, ready, attack, common["split"]),
            description=description,
            batch_size=run.batch_size,
            workers=run.workers,
        )
        reports.append(report)
        wall_s = round(time.perf_counter() - begin, 2)
        results = results_to_json(
            reports, common, run.invocation(), ready.detector, run.surroundings(wall_s)
        )
        write_json(Path(run.out) / "results.json", results)
        clean, attacked = report.mean_ap("clean"), report.mean_ap("attacked")
        tqdm.write(f"{report.name}: mean AP {clean:.2f} -> {attacked:.2f}")
    return reports


def audit_attacks(
    run: AttackRun, notify: Callable[[Check], None] | None = None
) -> AuditReport:
    """Audit a detector under the run's attacks, and write ``out/audit.json``.

    Args:
        run: Its attacks must be of one type, on maps.
        notify: Called with every check as soon as it is done.

    Raises:
        DataError: If anything asked for is impossible.
    """
    ready = prepare(run)
    attacks = [a for a, _ in ready.attacks if isinstance(a, Attack)]
    threats = [a.threat for a in attacks if isinstance(a.threat, MapThreat)]
    searches = [
        {key: value for key, value in description.items() if key != "threat"}
        for _, description in ready.attacks
    ]
    if len(threats) < len(ready.attacks) or any(s != searches[0] for s in searches):
        raise DataError(
            "--audit takes attacks of one type on sensors' maps, such as camera_pgd "
            f"lidar_pgd depth_pgd; got {', '.join(run.threats)}"
        )
    loader = build_loader(ready.dataset, ready.indices, batch_size=run.batch_size)
    target, batches = DetectorTarget(ready.detector), []
    for ids, data in numbered_batches(loader, ready.indices):
        batches.append(target.batch(data, ids))
        require_labels(batches[-1])
    try:
        report = audit(
            target,
            batches,
            threats=threats,
            score=_score(target, ready, batches),
            source=_source(run),
            settings=AuditSettings(search=searches[0]),
            notify=notify,
        )
    except ValueError as error:
        raise DataError(str(error)) from error
    content = {
        **run.invocation(),
        **_settings(run, ready),
        "attacks": [description for _, description in ready.attacks],
        "source": run.source and dict(run.source),
        "audit": report.to_dict(),
    }
    write_json(Path(run.out) / "audit.json", content)
    return report


def _score(
    target: DetectorTarget, ready: Prepared, batches: Sequence[AttackBatch]
) -> Callable[[Sequence[Mapping[str, Tensor]]], float]:
    """The headline mean AP of the detector on attacked inputs of the batches."""
    truth = [sample.objects for batch in batches for sample in batch.samples]

    @torch.no_grad()
    def score(attacked: Sequence[Mapping[str, Tensor]]) -> float:
        found = [
            sample.detections
            for inputs, batch in zip(attacked, batches, strict=True)
            for sample in target.predict(inputs, batch.samples)
        ]
        result = evaluate(
            truth,
            found,
            classes=ready.scoring.rules["headline"],
            metrics=("2d",),
            difficulties=ready.scoring.difficulties,
        )
        return mean_ap(result, "2d", ready.scoring.headline)

    return score


def _source(run: AttackRun) -> DetectorTarget | None:
    """The detector on which transfer attacks are crafted, if one was named."""
    if run.source is None:
        return None
    config, checkpoint = run.source["config"], run.source["checkpoint"]
    return load_target(config, checkpoint, device=run.device)


def _settings(run: AttackRun, ready: Prepared) -> dict:
    return settings_of(
        ready.config,
        run.config,
        run.checkpoint,
        ready.dataset,
        ready.indices,
        save_data=run.save_data,
    )


def _saver(
    run: AttackRun, ready: Prepared, attack: Perturbation, split: str
) -> KittiSaver | None:
    if not run.save_data:
        return None
    root = Path(run.out) / attack.name / "data"
    return KittiSaver(root, ready.dataset, split=split, indices=ready.indices)
