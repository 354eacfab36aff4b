"""tools/calibrate.py on a tiny set, as a user runs it."""

import shlex

import torch
from attacked_project import make_project
from tool_runner import status_of

from perception.apis import load_detector
from perception.cli import calibrate as tool
from perception.cli import certify as certify_tool
from perception.core.checkpoints import save_weights
from perception.training.calibration import calibration_command


def test_weights_know_unseen_frames(tmp_path, capsys):
    project = make_project(tmp_path, base="agreement")
    (project.data / "training" / "label_2").rename(tmp_path / "nobody needs them")
    out = tmp_path / "calibrated.safetensors"
    assert status_of(tool.main, project.config, project.checkpoint, "--out", out) == 0
    said = capsys.readouterr().out
    assert "4 frames; alarms attributed in " in said and str(out) in said
    before = load_detector(project.config, project.checkpoint).state_dict()
    after = load_detector(project.config, out).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"aggregator.gate.mean", "aggregator.gate.deviation"}
    words = ("--num", 2, "--batch-size", 1, "--device", "cpu", "--out", out)
    assert status_of(tool.main, project.config, project.checkpoint, *words) == 0
    assert "2 frames; " in capsys.readouterr().out


def test_bad_input_is_one_line(tmp_path, capsys):
    plain = make_project(tmp_path, base="concat")
    words = (plain.config, plain.checkpoint, "--out")
    assert status_of(tool.main, *words, tmp_path / "x.safetensors") == 2
    assert "only an aggregator's gate is calibrated" in capsys.readouterr().err
    assert status_of(tool.main, *words, tmp_path / "x.pth") == 2
    assert "x.pth: weights are written as .safetensors" in capsys.readouterr().err
    words = (*words, tmp_path / "x.safetensors", "--cfg-options", "dataroot=here")
    assert status_of(tool.main, *words) == 2
    assert "no entry 'dataroot' to set; did you mean" in capsys.readouterr().err


def test_training_names_the_next_command(tmp_path):
    project = make_project(tmp_path, base="agreement")
    weights = project.checkpoint
    options = {"classes": ["Car", "Van"], "input_size": (64, 32), "data_root": "a"}
    command = calibration_command("configs/c.py", weights, options)
    words = shlex.split(command)
    assert words[:4] == ["python", "tools/calibrate.py", "configs/c.py", str(weights)]
    assert words[4:6] == ["--out", str(tmp_path / "calibrated.safetensors")]
    assert words[6:] == [
        "--cfg-options",
        "input_size=[64,32]",
        "classes=[Car,Van]",
        "data_root=FOLDER_OF_CLEAN_FRAMES",
    ]
    plain = make_project(tmp_path / "plain", base="concat")
    assert calibration_command("configs/c.py", plain.checkpoint, {}) is None


def test_certificates_of_an_uncalibrated_gate_come_with_a_warning(tmp_path, capsys):
    project = make_project(tmp_path, base="agreement")
    weights = load_detector(project.config, project.checkpoint).state_dict()
    weights["aggregator.gate.mean"] -= 20
    loud = tmp_path / "loud.safetensors"
    save_weights(loud, weights)
    for file, told in ((project.checkpoint, False), (loud, True)):
        words = (project.config, file, "--batch-size", 2)
        assert status_of(certify_tool.main, *words) == 0
        warned = "warning: of 4 clean frames the gate acc" in capsys.readouterr().out
        assert warned == told
