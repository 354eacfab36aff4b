"""tools/train.py and tools/test.py as people call them."""

import json
import os
import pickle
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_kitti import write_config, write_kitti

from perception.core.checkpoints import load_checkpoint

REPOSITORY = Path(__file__).parents[2]
RANK_DUMP = """
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class RankDump(Hook):
    def after_train(self, runner):
        weights = runner.model.module.state_dict()
        torch.save(weights, f"{runner.work_dir}/{runner.rank}.pt")
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tool")
    base = REPOSITORY / "configs" / "synthetic" / "concat_retinanet.py"
    path = write_config(folder / "retinanet.py", write_kitti(folder / "kitti"), base)
    (folder / "rank_dump.py").write_text(RANK_DUMP)
    with path.open("a") as file:
        file.write(
            """
custom_hooks = [
    dict(type="PlainCheckpointHook"),
    dict(type="SyncBuffersHook"),
    dict(type="RankDump"),
]
train_cfg.update(max_epochs=1)
"""
        )
        file.write(
            "custom_imports = dict(imports=["
            "'perception.core.checkpoints', 'perception.models', "
            "'perception.datasets.frame_dataset', 'perception.datasets.transforms', "
            "'perception.evaluation.detection.kitti_metric', 'rank_dump'])\n"
        )
    return path


def call(monkeypatch, capsys, tool: str, *arguments: object) -> tuple[int, str, str]:
    """Exit status, output and errors of a tool run in this process."""
    path = REPOSITORY / "tools" / tool
    monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
    capsys.readouterr()
    try:
        runpy.run_path(str(path), run_name="__main__")
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.slow
def test_two_processes_train_one_detector_and_it_is_scored(
    config, tmp_path, monkeypatch, capsys
):
    """torchrun on CPU (gloo); an anchor-based head; then tools/test.py."""
    work_dir = tmp_path / "work"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(REPOSITORY / "tools" / "train.py")]
    command += [str(config), "--launcher", "pytorch", "--work-dir", str(work_dir)]
    command += ["--cfg-options", "train_dataloader.batch_size=1"]
    command += ["train_dataloader.num_workers=0"]
    command += ["train_dataloader.persistent_workers=False"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {"PYTHONPATH": f"{REPOSITORY}:{config.parent}", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "best checkpoint: " in done.stdout
    first, second = (torch.load(work_dir / f"{rank}.pt") for rank in (0, 1))
    saved = load_checkpoint(work_dir / "epoch_1.pth")["state_dict"]
    assert set(first) == set(second) == set(saved)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
        assert torch.equal(value, saved[name]), name

    arguments = [config, work_dir / "epoch_1.pth", "--work-dir", tmp_path / "test"]
    arguments += ["--dump-kitti", tmp_path / "out", "--json", tmp_path / "f.json"]
    arguments += ["--cfg-options", "custom_hooks=[]"]
    monkeypatch.syspath_prepend(config.parent)
    status, out, _ = call(monkeypatch, capsys, "test.py", *arguments)
    assert status == 0
    assert "kitti/mAP: " in out
    assert sorted(os.listdir(tmp_path / "out")) == ["000004.txt", "000005.txt"]
    assert "kitti/mAP" in json.loads((tmp_path / "f.json").read_text())["figures"]


@pytest.mark.parametrize("tool", ["train.py", "test.py"])
def test_help_teaches(tool, monkeypatch, capsys):
    status, out, _ = call(monkeypatch, capsys, tool, "--help")
    assert status == 0
    for word in ("examples:", "configs/synthetic/concat.py", "--cfg-options"):
        assert word in out


def test_errors_are_one_line(config, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(config.parent)
    damaged, evil = tmp_path / "damaged.pth", tmp_path / "evil.pth"
    damaged.write_bytes(b"PK\x03\x04 not a checkpoint")
    evil.write_bytes(pickle.dumps(Path))
    empty = tmp_path / "empty"
    empty.mkdir()
    work_dir = ["--work-dir", tmp_path / "work"]
    calls = {
        "none.py: no such config file": ["train.py", tmp_path / "none.py"],
        "none.pth: no such checkpoint": ["test.py", config, tmp_path / "none.pth"],
        "damaged.pth: not a whole checkpoint": ["test.py", config, damaged],
        "evil.pth: not a whole checkpoint": ["test.py", config, evil],
        "empty/training": ["train.py", config, "--cfg-options", f"data_root={empty}"],
    }
    for expected, (tool, *arguments) in calls.items():
        status, _, err = call(monkeypatch, capsys, tool, *arguments, *work_dir)
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert status == 2, err
        assert len(lines) == 1 and expected in lines[0], err
        assert "Traceback" not in err


def test_error_of_a_worker_is_one_line(config, tmp_path, monkeypatch, capsys):
    """A frame that turns out to be damaged in the middle of training."""
    monkeypatch.syspath_prepend(config.parent)
    root = write_kitti(tmp_path / "kitti")
    for path in (root / "training" / "velodyne").iterdir():
        path.write_bytes(b"12345")
    options = ["--cfg-options", f"data_root={root}", "custom_hooks=[]"]
    arguments = [config, "--work-dir", tmp_path / "work", *options]
    status, _, err = call(monkeypatch, capsys, "train.py", *arguments)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert status == 2
    (line,) = lines
    assert line.startswith(f"error: {root}") and ".bin: expected a multiple" in line
    assert "Traceback" not in err
