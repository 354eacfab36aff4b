"""tools/calibrate.py on a tiny set, as a user runs it."""

import sys

import pytest
import torch
from attacked_project import REPOSITORY, make_project

sys.path.insert(0, str(REPOSITORY / "tools"))

import calibrate as tool

from perception.apis import load_detector
from perception.cli.options import run_tool


def run(monkeypatch, *words) -> int:
    monkeypatch.setattr(sys, "argv", ["calibrate.py", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        run_tool(tool.main)
        raise SystemExit(0)
    return stopped.value.code or 0


def test_weights_know_unseen_frames(tmp_path, monkeypatch, capsys):
    project = make_project(tmp_path, base="agreement")
    (project.data / "training" / "label_2").rename(tmp_path / "nobody needs them")
    out = tmp_path / "calibrated.safetensors"
    assert run(monkeypatch, project.config, project.checkpoint, "--out", out) == 0
    said = capsys.readouterr().out
    assert "4 frames; alarms attributed in " in said and str(out) in said
    before = load_detector(project.config, project.checkpoint).state_dict()
    after = load_detector(project.config, out).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"aggregator.gate.mean", "aggregator.gate.deviation"}
    words = ("--num", 2, "--batch-size", 1, "--device", "cpu", "--out", out)
    assert run(monkeypatch, project.config, project.checkpoint, *words) == 0
    assert "2 frames; " in capsys.readouterr().out


def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys):
    plain = make_project(tmp_path, base="concat")
    words = (plain.config, plain.checkpoint, "--out")
    assert run(monkeypatch, *words, tmp_path / "x.safetensors") == 2
    assert "only an aggregator's gate is calibrated" in capsys.readouterr().err
    assert run(monkeypatch, *words, tmp_path / "x.pth") == 2
    assert "x.pth: weights are written as .safetensors" in capsys.readouterr().err
    words = (*words, tmp_path / "x.safetensors", "--cfg-options", "dataroot=here")
    assert run(monkeypatch, *words) == 2
    assert "no entry 'dataroot' to set; did you mean" in capsys.readouterr().err
