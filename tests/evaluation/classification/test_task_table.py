"""From made-up clips to the table: trained, attacked, scored, gone on with."""

from pathlib import Path

import pytest

from perception.core.config import load_config
from perception.core.structures import DataError
from perception.evaluation.detection.scoring import score_checkpoint
from perception.evaluation.robustness.attack import run_attacks
from perception.evaluation.robustness.results import read_results
from perception.evaluation.robustness.spec import (
    AttackRun,
    AttacksSpec,
    DetectorSpec,
    FramesSpec,
)
from perception.evaluation.task_table import TaskTable, make_table

ROOT = Path(__file__).resolve().parents[3]
ATTACKS = str(ROOT / "configs/_base_/attacks/action.py")
OPTIONS = {"max_epochs": 4, "train_dataloader.dataset.frames.count": 48}


def test_one_row(tmp_path):
    asked = TaskTable(
        configs=str(ROOT / "configs/action"),
        attacks_file=ATTACKS,
        out=str(tmp_path),
        rows=("made_up",),
        seeds=(0,),
        suites=("quick",),
        num=8,
        curve=(0.5, 1.0),
        options=OPTIONS,
        command="the command",
    )
    text = make_table(asked)
    assert (tmp_path / "table.md").read_text() == text
    assert "| `made_up` | " in text and "accel, PGD" in text and "`the command`" in text
    results = read_results(tmp_path / "results/robustness.json")
    (detector,) = results.detectors
    assert detector.clean_mean > 50  # of four motions
    assert detector.attacks["accel_pgd"].mean <= detector.clean_mean
    change = read_results(tmp_path / "results/made_up_seed0/results.json")
    frames = change.detectors[0].attacks["gyro_pgd"].frames
    assert 60 < frames[0].change["gyro"]["gyro_x"] <= 125.5  # deg/s
    table = (tmp_path / "results/robustness.md").read_text()
    assert "Accuracy in percent on 8 frames" in table and "mean AP" not in table
    assert "accuracy by factor of the budget" in table

    checkpoint = tmp_path / "made_up_seed0/epoch_4.pth"
    assert make_table(asked) == text and checkpoint.is_file()  # nothing is done again
    config = load_config(ROOT / "configs/action/made_up.py", OPTIONS)
    figures = score_checkpoint(config, checkpoint, work_dir=tmp_path / "test")
    assert figures["accuracy/top1"] > 50
    with pytest.raises(DataError, match="AccuracyMetric writes no KITTI result files"):
        score_checkpoint(config, checkpoint, work_dir=tmp_path, dump_kitti=tmp_path)
    hidden = AttackRun(
        detector=DetectorSpec(
            config=str(ROOT / "configs/action/made_up.py"), checkpoint=str(checkpoint)
        ),
        frames=FramesSpec(num=2),
        attacks=AttacksSpec(
            threats=["depth_margin", "accel_square"],
            attacks_file=ATTACKS,
            changes={"steps": 3},
        ),
        out=str(tmp_path / "attack"),
    )
    found = run_attacks(hidden).detectors[0].attacks
    assert set(found) == {"depth_margin@steps=3", "accel_square@steps=3"}
