"""What a run of attacks writes down: its settings, its results, and the table.

Everything in ``results.json`` but ``environment`` and each attack's ``timing`` and
``made_on`` is the same at every run.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmengine.config import Config

from perception.core.checkpoints import local_file, sha256
from perception.core.provenance import distinct
from perception.datasets.frame_dataset import FrameDataset
from perception.evaluation.robustness.attack_report import (
    DEFINITIONS,
    AttackReport,
    plain,
)
from perception.evaluation.robustness.cell import frame_ids_of

FORMAT = "perception attack results"
FORMAT_VERSION = 1
_PACKAGES = ("torch", "numpy", "opencv-python", "onedl-mmengine", "onedl-mmdetection")


def settings_of(
    config: Config,
    config_file: str | os.PathLike,
    checkpoint: str | os.PathLike,
    dataset: FrameDataset,
    indices: Sequence[int],
    *,
    save_data: bool = False,
) -> dict[str, Any]:
    """What determines the results, apart from the attack itself."""
    data = config.test_dataloader.dataset
    used = Config({"model": config.model, "data": data}).to_dict()
    frame_ids = frame_ids_of(dataset)
    return {
        "config": str(config_file),
        "config_sha256": hashlib.sha256(repr(used).encode()).hexdigest(),
        "checkpoint_sha256": sha256(local_file(checkpoint)),
        "data_root": str(data.frames.get("root", "")),
        "split": _split_name(config),
        "frame_ids": [frame_ids[i] for i in indices],
        "save_data": save_data,
    }


def results_to_json(
    reports: Sequence[AttackReport],
    settings: Mapping[str, Any],
    invocation: Mapping[str, Any],
    detector: Any,
    environment: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of ``results.json``: what the figures are and how to get them.

    Args:
        reports: Of one detector on one set of frames.
        settings: As from :func:`settings_of`.
        invocation: How the run was started, e.g. ``command``.
        detector: The detector.
        environment: What may differ from run to run, e.g. ``wall_s``.
    """
    attacks = {report.name: report.to_json() for report in reports}
    finished = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        **invocation,
        **settings,
        "sensors": plain(dict(detector.sensors)),
        "classes": list(detector.dataset_meta["classes"]),
        "scoring": plain(reports[0].scoring),
        "definitions": DEFINITIONS,
        "clean_ap": attacks[reports[0].name]["ap"]["clean"],
        "attacks": attacks,
        "environment": {
            "made_on": distinct(one for report in reports for one in report.made_on),
            "collected_with": versions(),
            "finished": finished,
            **environment,
        },
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _split_name(config: Config) -> str:
    """Name of the split that the frames come from, "given" for a list of ids."""
    split = config.test_dataloader.dataset.frames.get("split", "all")
    return Path(split).stem if isinstance(split, str) else "given"


def attack_table(reports: Sequence[AttackReport]) -> str:
    """One line per attack: AP, success, damage, gate and speed."""
    width = max(6, *(len(report.name) for report in reports)) + 2
    lines = [
        f"{'attack':<{width}}{'clean':>8}{'attacked':>10}{'KITTI':>7}{'':>9}"
        f"{'success':>9}{'lost':>10}{'false':>7}{'damage':>15}{'gate':>6}{'s/frame':>9}"
    ]
    for report in reports:
        values = report.to_json()
        success, damage, gate = values["success"], values["damage"], values["gate"]
        lost = f"{success['lost']}/{success['found_clean']}"
        hurt = f"{damage['clean']:.2f} -> {damage['attacked']:.2f}"
        right = "-" if gate is None else f"{gate['right_rate']:.0%}"
        lines.append(
            f"{report.name:<{width}}"
            f"{_ap(report.mean_ap('clean')):>8}{_ap(report.mean_ap('attacked')):>10}"
            f"{_ap(report.mean_ap('clean', 'kitti')):>7}"
            f"{'-> ' + _ap(report.mean_ap('attacked', 'kitti')):>9}"
            f"{success['rate']:>9.0%}{lost:>10}{'+' + str(success['false_new']):>7}"
            f"{hurt:>15}{right:>6}{values['timing']['attack_s_per_frame']:>9.2f}"
        )
    headline = reports[0].scoring.headline
    lines += [
        f"{report.name}: changed nothing in any frame"
        for report in reports
        if not any(map(_changed, report.to_json()["frames"]))
    ]
    return "\n".join(
        [
            *lines,
            f"clean, attacked: mean AP in percent ({headline}, R40, this task's "
            "overlaps); KITTI: at KITTI's own overlaps;",
            "success: frames where an object was lost or a false detection appeared; "
            "gate: how often it blames an attacked sensor",
        ]
    )


def _changed(frame: Mapping[str, Any]) -> bool:
    """Whether any channel of any attacked sensor differs from the clean one."""
    return any(any(channels.values()) for channels in frame["change"].values())


def _ap(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.2f}"
