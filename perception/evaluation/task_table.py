"""The paper's rows on a task of classification: trained from several seeds, attacked.

One call makes the whole table: what is trained already, or attacked already, is taken
from the folder.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from perception.core.config import load_config
from perception.core.files import replacing
from perception.core.structures import DataError
from perception.evaluation.robustness.grid import run_robustness
from perception.evaluation.robustness.results import (
    DetectorResult,
    Results,
    single_sensor,
)
from perception.evaluation.robustness.spec import (
    AttacksSpec,
    DetectorSpec,
    FramesSpec,
    RobustnessRun,
    Running,
)
from perception.evaluation.robustness.tables import NOTHING, table
from perception.training.runner import train
from perception.training.work_folder import best_checkpoint

ROWS = (
    *("concat", "mean", "lel", "concat_at", "mean_at", "lel_at", "odd_one_out"),
    *("gate_only", "odd_one_out_robust", "consensus", "consensus_robust"),
)
_Z95 = 1.96


@dataclass(frozen=True, kw_only=True)
class TaskTable:
    """What to make.

    Attributes:
        configs: Folder with a config of each of ``rows``.
        attacks_file: Where its attacks are defined; ``quick`` is its plain PGD.
        out: Folder of trainings, ``results`` and ``table.md``.
        rows: Names of configs, every one after what it starts from.
        seeds: Of the trainings.
        suites: Attacks and suites; the strongest of them counts.
        num: Only so many test samples, spread evenly; all without.
        curve: Factors of the plain attacks' budgets to try as well.
        options: Entries to replace in every config, such as ``data_root``.
        command: The command line, for the record.
    """

    configs: str
    attacks_file: str
    out: str
    rows: Sequence[str] = ROWS
    seeds: Sequence[int] = (0, 1, 2)
    suites: Sequence[str] = ("table",)
    num: int | None = None
    curve: Sequence[float] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""


def make_table(asked: TaskTable) -> str:
    """Train, attack, write ``table.md``; returns its text.

    Raises:
        DataError: If a config or the data cannot be used, or a row starts from one that
            is not before it.
    """
    out, detectors, names = Path(asked.out), [], []
    for seed in asked.seeds:
        for row in asked.rows:
            checkpoint = _trained(asked, row, seed)
            config = str(Path(asked.configs) / f"{row}.py")
            detectors.append(
                DetectorSpec(
                    config=config,
                    checkpoint=str(checkpoint),
                    cfg_options=asked.options,
                )
            )
            names.append(f"{row}_seed{seed}")
    results = run_robustness(
        RobustnessRun(
            detectors=detectors,
            names=names,
            attacks=AttacksSpec(threats=asked.suites, attacks_file=asked.attacks_file),
            frames=FramesSpec(num=asked.num),
            running=Running(batch_size=128, command=asked.command),
            curve=asked.curve,
            probe=("quick",),
            out=str(out / "results"),
        )
    )
    if results is None:
        raise DataError("a table is made by one process, not by torchrun's")
    text = summary(results, asked)
    with replacing(out / "table.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return text


def _trained(asked: TaskTable, row: str, seed: int) -> Path:
    """The checkpoint of a row and seed, trained if it is not there."""
    work_dir = Path(asked.out) / f"{row}_seed{seed}"
    done = work_dir / "done"
    if not done.is_file():
        file = Path(asked.configs) / f"{row}.py"
        entries = load_config(file, asked.options).to_dict()
        # Formatting the copy in the work folder takes longer than some trainings.
        config = Config(entries, filename=str(file), format_python_code=False)
        if config.load_from:  # work_dirs/<folder>_<row>/epoch_N.pth
            start = Path(config.load_from).parent.name
            start = start.removeprefix(f"{Path(asked.configs).name}_")
            config.load_from = str(
                best_checkpoint(work_dir.parent / f"{start}_seed{seed}")
            )
        train(config, work_dir=work_dir, seed=seed, resume=True)
        done.touch()
    return best_checkpoint(work_dir)


def summary(results: Results, asked: TaskTable) -> str:
    """One line per row: accuracy clean, by source under plain PGD and the strongest."""
    sensors, samples = list(results.sensors), len(results.frame_ids)
    single = single_sensor(results.detectors[0].attacks)
    header = ["row", "clean", *(f"{s}, PGD" for s in sensors), "least"]
    header += [*(f"{s}, strongest" for s in sensors), "least", "oracle, least"]
    header += ["gate right", "false alarms"]
    lines = []
    for row in asked.rows:
        own = [
            one
            for one in results.detectors
            if one.name in {f"{row}_seed{seed}" for seed in asked.seeds}
        ]
        plain = [[_plain(one, name) for one in own] for name in sensors]
        worst = [[one.worst[name].mean for one in own] for name in sensors]
        told = [[o.mean for o in one.oracle.values()] for one in own]
        cells: list[Sequence[float | None]]
        cells = [[one.clean_mean for one in own], *plain, _least(plain)]
        cells += [*worst, _least(worst), [min(o) for o in told if o]]
        gates = [one.gate for one in own if one.gate is not None]
        cells += [[100 * (g.right_rate or 0.0) for g in gates]]
        cells += [[100 * g.false_alarms for g in gates]]
        lines.append([f"`{row}`", *(interval(c, samples) for c in cells)])
    seeds = ", ".join(map(str, asked.seeds))
    return "\n".join(
        [
            *table(header, lines),
            "",
            f"Accuracy in percent on {samples} unseen samples, mean of trainings from "
            f"seeds {seeds}, with half the width of its 95 % interval (of seeds and of "
            "samples together). One source is attacked at a time; strongest: of "
            f"{', '.join(single)}, for each training and source.",
            "",
            f"Reproduce: `{asked.command}`",
            "",
        ]
    )


def interval(values: Sequence[float | None], samples: int) -> str:
    """Mean of percentages over trainings ± half the width of its 95 % interval."""
    known = [value for value in values if value is not None]
    if not known:
        return NOTHING
    mean = statistics.fmean(known)
    of_seeds = statistics.variance(known) / len(known) if len(known) > 1 else 0.0
    of_samples = mean * (100 - mean) / samples
    return f"{mean:.1f} ± {_Z95 * math.sqrt(of_seeds + of_samples):.1f}"


def _plain(one: DetectorResult, sensor: str) -> float | None:
    found = one.attacks.get(f"{sensor}_pgd")
    return None if found is None else found.mean


def _least(by_sensor: Sequence[Sequence[float | None]]) -> list[float]:
    """Of each training the least over the sensors."""
    columns = zip(*by_sensor, strict=True)
    return [min(v for v in column if v is not None) for column in columns]
