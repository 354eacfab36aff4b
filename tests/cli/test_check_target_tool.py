"""tools/check_target.py, and --target in the tools that attack."""

import json

import pytest
from attacked_project import make_project

from perception.cli import attack, check_target, robustness, visualize

MODULE = """\
import torch
from torch_detectors import LABELS, NAMES, GridDetector
from perception.targets import PictureFormat, TorchDetectorTarget

def build(seed=0, detached=False):
    torch.manual_seed(seed)
    picture = PictureFormat(order="bgr", std=255.0)
    module = GridDetector(detached=detached)
    return TorchDetectorTarget(module, labels=LABELS, classes=NAMES, picture=picture)

def nothing():
    return object()
"""
CONFIG = """\
_base_ = {base!r}
target = dict(type="my_system:build", detached={detached})
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    made = make_project(tmp_path, "camera_only")
    (tmp_path / "my_system.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "my_system", raising=False)
    return made


def config_with_target(project, name, *, detached=False):
    path = project.config.with_name(name)
    path.write_text(CONFIG.format(base=str(project.config), detached=detached))
    return str(path)


def test_check_says_pass_and_fail(project, capsys):
    given = ["--target", "my_system:build", "--data", str(project.config)]
    with pytest.raises(SystemExit) as ended:
        check_target.main([*given, "--num", "2", "--no-audit"])
    assert ended.value.code == 1  # untrained: it finds nothing
    said = capsys.readouterr().out
    assert "yes  losses" in said and "no   scores" in said
    assert "PASS  gradient is true on camera" in said
    assert "FAIL  finds labelled objects" in said and "1 failed" in said
    cut = config_with_target(project, "cut.py", detached=True)
    with pytest.raises(SystemExit):
        check_target.main(["--target", cut, "--num", "2"])
    said = capsys.readouterr().out
    assert "FAIL  gradient reaches camera" in said and "no audit" in said


def test_a_detector_of_ours_is_checked_as_well(project, capsys):
    given = [str(project.config), str(project.checkpoint), "--num", "2", "--no-audit"]
    with pytest.raises(SystemExit):
        check_target.main(given)
    assert "yes  features" in capsys.readouterr().out


def test_attack_and_report(project, tmp_path, capsys):
    from perception.cli import report

    out = tmp_path / "attacked"
    given = ["--target", config_with_target(project, "mine.py"), "--out", str(out)]
    names = ["camera_pgd", "camera_noise_predictions", "camera_noise_5"]
    attack.main([*given, "--threat", *names, "--num", "2", "--steps", "2"])
    content = json.loads((out / "results.json").read_text())
    (detector,) = content["detectors"]
    assert [*detector["attacks"]] == [
        "camera_pgd@steps=2",
        "camera_noise_predictions@steps=2",
        "camera_noise_5",
    ]
    assert detector["checkpoint"] == "" and len(detector["checkpoint_sha256"]) == 64
    attack.main([*given, "--threat", *names, "--num", "2", "--steps", "2", "--resume"])
    report.main([str(out / "results.json"), "--out", str(tmp_path / "page.html")])
    assert "camera_pgd" in (tmp_path / "page.html").read_text()


def test_robustness_beside_one_of_ours(project, tmp_path, capsys):
    words = [
        str(project.config),
        str(project.checkpoint),
        "--target",
        "my_system:build",
    ]
    words += ["--data", str(project.config), "--threat", "camera_noise", "camera_hide"]
    out = tmp_path / "table"
    robustness.main([*words, "--num", "2", "--out", str(out)])
    table = (out / "robustness.md").read_text()
    assert "my_system.build" in table
    assert "no class scores" in table  # camera_hide does not apply to it


def test_detections_are_drawn(project, tmp_path, capsys):
    words = ["detect", "--target", config_with_target(project, "mine.py"), "--num", "1"]
    words += ["--threat", "camera_pgd", "--steps", "2", "--out", str(tmp_path / "seen")]
    visualize.main([*words, "--video", "gif", "--video-of", "steps"])
    assert len(list((tmp_path / "seen").glob("*.png"))) == 1
    assert len(list((tmp_path / "seen").glob("*_steps.gif"))) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "my_system:build"], "needs --data"),
        (["--target", "x.py", "--data", "y.py"], "--data goes with"),
        (["a.py", "b.pth", "--target", "x.py"], "not both"),
        (["a.py"], "every CONFIG needs its CHECKPOINT"),
        ([], "are needed"),
    ],
)
def test_contradictions(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        attack.parse_args([*words, "--threat", "camera_pgd"])
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_what_is_no_target(project):
    from perception.core.structures import DataError

    for target, said in (
        ("my_system:nothing", "lacks sensors, classes, predict"),
        ("my_system:missing", "my_system:missing: cannot be imported"),
        ("no_such_module:f", "No module named"),
    ):
        words = ["--target", target, "--data", str(project.config), "--num", "2"]
        with pytest.raises(DataError, match=said):
            check_target.main(words)
