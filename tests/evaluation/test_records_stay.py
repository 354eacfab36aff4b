"""No record of an attack or a corruption moves by a bit of a change that moves none.

The figures were made by this test's own commands; run the file as a program to make
them anew where a change is meant to move them.
"""

import json
import platform
from pathlib import Path

import cv2
import pytest
import torch
from tiny_kitti import write_kitti

from perception.core.structures import Objects
from perception.evaluation.robustness.cell import run_batch
from perception.evaluation.robustness.spec import (
    AttacksSpec,
    DetectorRun,
    DetectorSpec,
    FramesSpec,
    Running,
)
from perception.evaluation.robustness.subject import load_subject

ROOT = Path(__file__).resolve().parents[2]
STORED = Path(__file__).with_name("records_stay.json")
ZOO = ("concat", "odd_one_out_robust", "consensus_robust")
ATTACKS = ("camera_pgd", "lidar_pgd", "depth_apgd", "lidar_shift", "camera_noise_3")
CHANGES = {"steps": 2}


def figures_of(name, data):
    """Every number of a frame of each attack."""
    detector = DetectorSpec(
        config=str(ROOT / f"configs/synthetic/{name}.py"),
        checkpoint=str(ROOT / f"data/zoo/{name}.safetensors"),
        cfg_options={"data_root": str(data)},
    )
    attacks = AttacksSpec(
        threats=ATTACKS,
        attacks_file=str(ROOT / "configs/_base_/attacks/standard.py"),
        changes=CHANGES,
    )
    run = DetectorRun(detector=detector, frames=FramesSpec(num=1))
    subject = load_subject(run, attacks)
    figures = {}
    for one in subject.attacks:
        for batch in subject.batches(Running()):
            for record in run_batch(subject.target, one.perturbation, batch):
                key = f"{one.perturbation.name} {record.frame_id}"
                figures[key] = summary(record)
    return figures


def summary(record):
    """A record in few numbers, each of which moves if anything does."""
    sides = {"clean": record.clean, "attacked": record.attacked}
    return {
        "loss": [record.loss_clean, record.loss_attacked, record.value],
        "gate": [record.gate_clean, record.gate_attacked],
        "alarm": [record.alarm_clean, record.alarm_attacked],
        "change": record.change,
        **{when: sums(found) for when, found in sides.items()},
        "oracle": None if record.oracle is None else sums(record.oracle),
    }


def sums(found: Objects):
    return [len(found), float(found.scores.sum()), float(found.boxes_px.sum())]


def make(folder):
    data = write_kitti(folder / "kitti", train=1, val=2)
    torch.manual_seed(0)
    return {name: figures_of(name, data) for name in ZOO}


def where():
    """What last bits depend on."""
    return {
        "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "torch": torch.__version__.split("+")[0],
        "opencv": cv2.__version__,
    }


def test_no_record_moves(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = json.loads(json.dumps(make(tmp_path)))
    finally:
        torch.set_num_threads(before)
    stored = json.loads(STORED.read_text())
    same = stored["where"] == where()
    for name, figures in stored["figures"].items():
        assert found[name].keys() == figures.keys()
        for key, value in figures.items():
            assert flat(found[name][key]) == (
                flat(value) if same else pytest.approx(flat(value), rel=1e-2, abs=1e-2)
            ), (name, key)


def flat(value):
    if isinstance(value, dict):
        return [one for inner in value.values() for one in flat(inner)]
    if isinstance(value, list):
        return [one for inner in value for one in flat(inner)]
    return [] if value is None else [value]


if __name__ == "__main__":
    import tempfile

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        content = {"where": where(), "figures": make(Path(folder))}
    STORED.write_text(json.dumps(content, indent=1) + "\n")
