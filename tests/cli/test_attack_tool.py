import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from attacked_project import REPOSITORY, make_project

from perception.cli import attack as tool
from perception.cli.options import run_tool
from perception.evaluation.robustness.attack import keep_earlier
from perception.evaluation.robustness.results import read_results


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


def run(project, *words):
    """The tool in this process; the argument list that it recorded."""
    argv = [str(project.config), str(project.checkpoint), *map(str, words)]
    tool.main(argv)
    return argv


def attacks_of(folder):
    """The attacks in its results, without what differs from run to run."""
    (detector,) = read_results(folder / "results.json").detectors
    return {
        name: replace(one, seconds=0.0, seconds_per_frame=0.0)
        for name, one in detector.attacks.items()
    }


def test_end_to_end(project, tmp_path, capsys):
    words = ("--threat", "quick", "lidar_shift", "--steps", "2", "--num", "3")
    words += ("--score-threshold", "0.05", "--out")
    run(project, *words, tmp_path / "a", "--save-data")
    table = capsys.readouterr().out
    results, attacks = (
        read_results(tmp_path / "a" / "results.json"),
        attacks_of(tmp_path / "a"),
    )
    names = [f"{name}@steps=2" for name in ("camera_pgd", "lidar_pgd", "depth_pgd")]
    assert list(attacks) == [*names, "lidar_shift@steps=2"]
    assert all(name in table for name in names)
    assert results.frame_ids == ("000001", "000002", "000003")
    assert "--threat quick lidar_shift --steps 2" in results.run.command
    (detector,) = results.detectors
    assert len(detector.checkpoint_sha256) == len(detector.config_sha256) == 64
    assert results.sensors["lidar"].channels[0].unit == "m"
    assert results.run.versions["numpy"]
    (attacked_on,) = results.environments
    assert attacked_on.device == "cpu" and attacked_on.torch
    for name in attacks:
        folder = tmp_path / "a" / name
        assert len((folder / "frames.jsonl").read_text().splitlines()) == 3
        assert (folder / "data" / "ImageSets" / "val.txt").is_file()

    # A kill after two attacks and one frame of the third.
    lines = tmp_path / "a" / names[2] / "frames.jsonl"
    lines.write_text(lines.read_text().splitlines(keepends=True)[0])
    for file in (tmp_path / "a" / "lidar_shift@steps=2").glob("*.json*"):
        file.unlink()
    run(project, *words, tmp_path / "a", "--save-data", "--resume", "--batch-size", 1)
    again = attacks_of(tmp_path / "a")
    for name, one in again.items():
        loss, before = one.detection_loss, attacks[name].detection_loss
        assert loss.attacked == pytest.approx(before.attacked, rel=1e-3)
    for name in names[:2]:
        assert again[name] == attacks[name]


def test_frames_goal_and_budget(project, tmp_path):
    words = ("--threat", "lidar_pgd", "--eps", "depth_m=1.5", "--goal", "hide")
    words += (
        "--set",
        "steps=1",
        "--frames",
        "000003",
        "--seed",
        "7",
        "--out",
        tmp_path,
    )
    run(project, *words)
    (attack,) = attacks_of(tmp_path).values()
    threat = attack.threat
    assert (threat["eps"], threat["steps"]) == ({"depth_m": 1.5}, 1)
    assert (threat["goal"], threat["seed"]) == ("hide", 7)
    (frame,) = attack.frames
    change = frame.change["lidar"]
    assert frame.frame_id == "000003"
    assert change["depth_m"] <= 1.5 + 1e-5
    assert change["height_m"] == change["reflectance"] == 0


def test_another_sensor_and_its_budget(project, tmp_path):
    words = ("--threat", "camera_pgd", "--sensor", "depth", "--eps", "2", "--steps")
    run(project, *words, "1", "--num", "1", "--out", tmp_path)
    (attack,) = attacks_of(tmp_path).values()
    assert attack.threat["eps"] == 2
    assert attack.frames[0].change["depth"]["depth_m"] <= 2 + 1e-5


def test_an_attack_without_any_effect_says_so(project, tmp_path, capsys):
    words = ("--threat", "depth_noise", "depth_pgd", "--eps", "0", "--steps", "1")
    run(project, *words, "--num", "1", "--out", tmp_path / "none")
    told = capsys.readouterr().out
    for name in ("depth_noise", "depth_pgd"):
        assert f"{name}@steps=1,eps=0: changed nothing in any frame" in told
    words = ("--threat", "depth_noise", "--steps", "1", "--num", "1")
    run(project, *words, "--out", tmp_path / "some")
    assert "changed nothing" not in capsys.readouterr().out


def test_list(capsys):
    tool.main(["--list"])
    listed = capsys.readouterr().out
    assert "camera_pgd " in listed
    assert "camera_blackout_1 … 5" in listed
    assert "suite quick: camera_pgd, lidar_pgd, depth_pgd\n" in listed
    assert max(map(len, listed.splitlines())) < 200


def test_audit(project, tmp_path, capsys):
    words = ("--threat", "depth_pgd", "--steps", "1", "--num", "1", "--audit", "--out")
    with pytest.raises(SystemExit) as ended:
        run(project, *words, tmp_path)
    content = json.loads((tmp_path / "audit.json").read_text())
    assert ended.value.code == (0 if content["audit"]["passed"] else 1)
    lines = capsys.readouterr().out.splitlines()
    checks = content["audit"]["checks"]
    verdicts = [line.split()[0] for line in lines if line[:4] in ("PASS", "FAIL")]
    assert verdicts == ["PASS" if check["passed"] else "FAIL" for check in checks]


ERRORS = {
    "unknown threat": (["--threat", "rain"], "no threat 'rain'; there are camera_pgd"),
    "misspelt threat": (
        ["--threat", "camra_pgd"],
        "no threat 'camra_pgd'; did you mean camera_pgd?",
    ),
    "unknown sensor": (
        ["--threat", "camera_pgd", "--sensor", "radar"],
        "'radar', but the detector has only ['camera', 'lidar', 'depth']",
    ),
    "another sensor's unit": (
        ["--threat", "camera_pgd", "--sensor", "depth"],
        "eps is meant for 'camera'; to attack 'depth' give --eps in its unit, m",
    ),
    "negative eps": (["--threat", "camera_pgd", "--eps", "-1"], "must not be negative"),
    "no eps": (["--threat", "lidar_add", "--eps", "1"], "has no eps to change"),
    "no number": (["--threat", "camera_pgd", "--eps", "x"], "--eps takes one number"),
    "no assignment": (["--threat", "camera_pgd", "--set", "x"], "takes FIELD=VALUE"),
    "unknown frame": (
        ["--threat", "camera_pgd", "--frames", "000000"],
        "frame(s) not in the split: 000000",
    ),
    "unknown split": (["--threat", "camera_pgd", "--split", "nowhere"], "nowhere.txt"),
    "unknown device": (["--threat", "camera_pgd", "--device", "abacus"], "--device"),
    "no attacks file": (
        ["--threat", "camera_pgd", "--attacks", "none.py"],
        "none.py: no such attacks file",
    ),
    "audit of points": (
        ["--threat", "lidar_shift", "--audit"],
        "attacks of one type on sensors' maps",
    ),
}


@pytest.mark.parametrize("option", ["--resume", "--save-data"])
def test_an_audit_takes_no_such_option(project, capsys, option):
    with pytest.raises(SystemExit, match="2"):
        run(project, "--threat", "quick", "--audit", option)
    assert "--audit takes neither --resume nor" in capsys.readouterr().err


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_one_line(project, tmp_path, capsys, case):
    words, message = ERRORS[case]
    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: run(project, *words, "--out", tmp_path))
    assert ended.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not list(tmp_path.iterdir())


def test_points_need_a_point_sensor(tmp_path, capsys):
    project = make_project(tmp_path, "camera_only")
    with pytest.raises(SystemExit):
        run_tool(
            lambda: run(project, "--threat", "lidar_add", "--out", tmp_path / "out")
        )
    assert "'lidar', but the detector has only ['camera']" in capsys.readouterr().err


def test_other_settings_are_refused(project, tmp_path, capsys):
    words = ("--threat", "camera_noise", "--set", "steps=1", "--num", "1")
    words += ("--out", tmp_path, "--batch-size", "1")
    run(project, *words)
    with pytest.raises(SystemExit):
        run_tool(lambda: run(project, *words))
    assert "--resume goes on with them" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run_tool(lambda: run(project, *words, "--resume", "--split", "train"))
    assert "holds results of other settings: " in capsys.readouterr().err


def test_help_teaches():
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "tools" / "attack.py"), "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    for word in ("examples:", "--save-data", "--resume", "results.json"):
        assert word in done.stdout


def test_results_of_other_attacks_are_kept(tmp_path):
    path = tmp_path / "results.json"
    keep_earlier(path, {"a"})  # there are none
    for number in (1, 2):
        path.write_text("not even results")
        keep_earlier(path, {"a"})
        assert not path.exists()
        assert (tmp_path / f"results_{number}.json").read_text() == "not even results"


def test_a_second_run_keeps_the_first_ones_results(project, tmp_path):
    words = ("--steps", "1", "--num", "1", "--out", tmp_path)
    run(project, "--threat", "camera_pgd", *words)
    run(project, "--threat", "camera_pgd", *words, "--resume")
    assert not list(tmp_path.glob("results_*"))
    run(project, "--threat", "depth_pgd", *words)
    assert list(attacks_of(tmp_path)) == ["depth_pgd@steps=1"]
    (kept,) = tmp_path.glob("results_*")
    (detector,) = read_results(kept).detectors
    assert list(detector.attacks) == ["camera_pgd@steps=1"]
