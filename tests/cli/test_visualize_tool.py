"""tools/visualize.py from the command line, on a tiny KITTI folder."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tool_runner import status_of

from perception.cli import visualize as tool
from perception.core.structures import Calibration, Objects
from perception.datasets.kitti.files import (
    read_image,
    write_calib,
    write_depth,
    write_image,
    write_objects,
    write_points,
)

REPO = Path(__file__).resolve().parents[2]
CAM_T_LIDAR = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])


@pytest.fixture(name="root")
def kitti_folder(tmp_path):
    """Three frames of 64x32, the last without depth; one has no objects."""
    root = tmp_path / "tiny kitti"
    training = root / "training"
    rng = np.random.default_rng(0)
    image_P_cam = np.array([[40.0, 0, 32, 0], [0, 40, 16, 0], [0, 0, 1, 0]])
    for index, frame_id in enumerate(("000000", "000001", "000002")):
        image = rng.integers(0, 256, (32, 64, 3), dtype=np.uint8)
        write_image(training / "image_2" / f"{frame_id}.png", image)
        points = rng.uniform([2, -9, -2, 0], [40, 9, 2, 1], (50, 4))
        write_points(training / "velodyne" / f"{frame_id}.bin", points)
        calibration = Calibration(image_P_cam, {"lidar": CAM_T_LIDAR})
        write_calib(training / "calib" / f"{frame_id}.txt", calibration)
        count = min(index, 1)
        names = np.array(["Car"], object)[:count]
        objects = Objects.from_boxes(names, np.array([[9.0, 8, 40, 25]])[:count])
        write_objects(training / "label_2" / f"{frame_id}.txt", objects)
        if index < 2:
            depth_m = rng.uniform(1, 80, (32, 64))
            write_depth(training / "depth_2" / f"{frame_id}.png", depth_m)
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "val.txt").write_text("000001\n000002\n")
    return root


@pytest.fixture(name="visualize")
def in_this_process(monkeypatch, capsys):
    """The tool's status and what it says, without a display."""
    monkeypatch.delenv("DISPLAY", raising=False)

    def visualize(*arguments):
        capsys.readouterr()
        status, said = status_of(tool.main, *arguments), capsys.readouterr()
        return SimpleNamespace(returncode=status, stdout=said.out, stderr=said.err)

    return visualize


def test_split_is_drawn_and_told_as_a_user_does_it(root, tmp_path):
    out = tmp_path / "out"
    environment = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
    path = os.pathsep.join(filter(None, [str(REPO), environment.get("PYTHONPATH")]))
    words = ["data", root, "--split", "val", "--out", out, "--width", 640]
    run = subprocess.run(
        [sys.executable, str(REPO / "tools" / "visualize.py"), *map(str, words)],
        capture_output=True,
        text=True,
        cwd=REPO,
        env=environment | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    paths = run.stdout.split("\n")[:-1]
    assert paths == [str(out / "000001.png"), str(out / "000002.png")]
    assert read_image(paths[0]).shape[1] == 640


def test_named_frames_into_the_default_folder(visualize, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = visualize("data", root, "--frames", "000002", "000000")
    assert run.returncode == 0, run.stderr
    drawn = sorted(p.name for p in (tmp_path / "work_dirs" / "pictures").iterdir())
    assert drawn == ["000000.png", "000002.png"]


def test_number_of_frames_is_spread_over_the_split(visualize, root, tmp_path):
    run = visualize("data", root, "--num", 2, "--out", tmp_path)
    drawn = [Path(line).stem for line in run.stdout.splitlines()]
    assert drawn == ["000000", "000001"]


def test_frames_of_a_config_are_drawn_as_its_reader_gives_them(
    visualize, root, tmp_path
):
    config = tmp_path / "own.py"
    base = REPO / "configs" / "synthetic" / "lidar_only.py"
    config.write_text(f"_base_ = {str(base)!r}\ndata_root = {str(root)!r}\n")
    run = visualize("data", config, "--split", "val", "--out", tmp_path / "out")
    assert run.returncode == 0, run.stderr
    drawn = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert drawn == ["000001.png", "000002.png"]
    run = visualize("data", config, "--split", "all")
    assert run.returncode == 2
    assert run.stderr.strip().splitlines()[-1] == (
        "error: --split of a config is train, val or test, got 'all'"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--frames", "000009"), "000009"),
        (("--split", "test"), "test.txt"),
        (("--width", "10"), "at least 320"),
    ],
    ids=["frame", "split", "width"],
)
def test_bad_input_is_one_line(visualize, root, tmp_path, arguments, message):
    run = visualize("data", root, *arguments, "--out", tmp_path)
    assert run.returncode == 2
    assert run.stderr.startswith("error: ") and run.stderr.count("\n") == 1
    assert message in run.stderr


def test_missing_folder_and_unwritable_target_are_one_line(visualize, root, tmp_path):
    run = visualize("data", tmp_path / "nothing")
    assert run.returncode == 2 and run.stderr.count("\n") == 1
    blocked = tmp_path / "file"
    blocked.write_text("")
    run = visualize("data", root, "--frames", "000000", "--out", blocked / "x")
    assert run.returncode == 2
    assert run.stderr.strip().splitlines()[-1].startswith("error: ")


def test_help_teaches(visualize):
    run = visualize("data", "--help")
    assert run.returncode == 0
    text = " ".join(run.stdout.split())
    assert "examples:" in text and "(default: 1600)" in text
