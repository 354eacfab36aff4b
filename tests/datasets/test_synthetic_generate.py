import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tool_runner import status_of

from perception.cli import create_data
from perception.core.structures import DataError
from perception.datasets.kitti.check import check_kitti
from perception.datasets.kitti.reader import KittiFrames
from perception.datasets.synthetic.generate import parse_size
from perception.datasets.synthetic.kitti import generate

FRAMES, VAL_FRAMES, SIZE = 3, 1, "160x48"


def hashes(root):
    """SHA-256 of every file below ``root`` by its relative name."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def make(out, **changes):
    given = {"frames": FRAMES, "val_frames": VAL_FRAMES, "size": SIZE, "seed": 5}
    return generate(out, **{**given, "progress": False, **changes})


@pytest.fixture(scope="module")
def root(tmp_path_factory, repo_root):
    """A set made by the command-line tool with two jobs."""
    out = tmp_path_factory.mktemp("synthetic") / "set"
    done = subprocess.run(
        [
            *(sys.executable, str(repo_root / "tools/create_data.py"), "synthetic"),
            *("--out", str(out), "--size", SIZE, "--seed", "5", "--jobs", "2"),
            *("--frames", str(FRAMES), "--val-frames", str(VAL_FRAMES)),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(repo_root)},
    )
    assert done.returncode == 0, done.stderr
    assert "3 training and 1 validation frames" in done.stdout
    return out


def test_every_frame_has_kittis_files(root):
    names = sorted(hashes(root))
    assert [n for n in names if n.startswith("training/label_2")] == [
        f"training/label_2/00000{i}.txt" for i in range(4)
    ]
    assert len([n for n in names if n.startswith("training/")]) == 4 * 6
    splits = {p.stem: p.read_text().split() for p in (root / "ImageSets").glob("*")}
    assert splits == {
        "train": ["000000", "000001", "000002"],
        "val": ["000003"],
        "trainval": ["000000", "000001", "000002", "000003"],
    }


def test_kittis_reader_reads_it_and_its_check_finds_no_fault(root):
    frames = KittiFrames(root, "train")
    assert len(frames) == FRAMES
    for frame in frames:
        assert frame.image_size == (48, 160)
        assert frame.sensors["camera"].shape == (48, 160, 3)
        assert frame.sensors["depth"].shape == (48, 160)
        assert (frame.sensors["depth"] > 0).mean() > 0.2
        assert frame.sensors["lidar"].shape[0] > 1000
        boxes = frame.objects.boxes_px
        assert (boxes >= 0).all() and (boxes <= [159, 47, 159, 47]).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        tilt = frame.calibration.cam_T_sensor["lidar"][:3, :3]
        axes = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]])
        np.testing.assert_allclose(tilt @ tilt.T, np.eye(3), atol=1e-9)
        assert 0.001 < np.abs(tilt - axes).max() < 0.03
    assert check_kitti(root, root / "training/depth_2") == []


def test_one_job_gives_the_same_bits_as_two(root, tmp_path):
    assert hashes(make(tmp_path / "one")) == hashes(root)


def test_a_broken_off_run_continues(root, tmp_path):
    copy = Path(shutil.copytree(root, tmp_path / "set"))
    label, image = "training/label_2/000001.txt", copy / "training/image_2/000000.png"
    (copy / label).unlink()
    image.write_bytes(b"kept as it is")
    make(copy, frames=FRAMES + VAL_FRAMES, val_frames=0)
    assert hashes(copy)[label] == hashes(root)[label]
    assert image.read_bytes() == b"kept as it is"
    # What was validated before is trained on now.
    assert not (copy / "ImageSets/val.txt").exists()


@pytest.mark.parametrize(
    "changes",
    [{"seed": 6}, {"size": "160x50"}, {"full_lidar": True}],
    ids=["seed", "size", "full_lidar"],
)
def test_another_recipe_in_the_same_folder_is_refused(root, changes):
    before = hashes(root)
    with pytest.raises(DataError, match=r"set: holds what was made with .*'seed': 5"):
        make(root, **changes)
    assert hashes(root) == before


def test_a_foreign_data_set_is_left_alone(tmp_path):
    (tmp_path / "training").mkdir()
    with pytest.raises(DataError, match=r"without synthetic\.json"):
        make(tmp_path)


def test_a_damaged_note_is_named(tmp_path):
    (tmp_path / "synthetic.json").write_text("{")
    with pytest.raises(DataError, match=r"synthetic\.json: cannot read"):
        make(tmp_path)


@pytest.mark.parametrize(
    "text", ["640", "640x", "x192", "640*192", "-640x192", "64x192", "640x8", "axb", ""]
)
def test_malformed_sizes(text):
    with pytest.raises(DataError, match="--size must be"):
        parse_size(text)


def test_a_size_has_width_first():
    assert parse_size("1242x375") == (1242, 375)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 0}, "frames must be at least 1, got 0"),
        ({"val_frames": -1}, "val_frames must be at least 0"),
        ({"jobs": 0}, "jobs must be at least 1"),
        ({"seed": -3}, "seed must be at least 0"),
    ],
    ids=["frames", "val_frames", "jobs", "seed"],
)
def test_arguments_out_of_range(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        make(tmp_path / "set", **changes)
    assert not (tmp_path / "set").exists()


def test_the_tool_prints_one_line_for_bad_input(tmp_path, capsys):
    words = ("synthetic", "--out", tmp_path / "set", "--size", "big")
    assert status_of(create_data.main, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --size must be WIDTHxHEIGHT")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scenes", "8"], "error: --layout kitti takes no --scenes\n"),
        (
            ["--layout", "nuscenes", "--frames", "8", "--full-lidar"],
            "error: --layout nuscenes takes no --frames, --full-lidar\n",
        ),
        (["--jobs", "0"], "argument --jobs: must be at least 1, got 0"),
    ],
    ids=["kitti", "nuscenes", "jobs"],
)
def test_options_of_the_other_layout_are_refused(tmp_path, capsys, words, message):
    out = ("--out", tmp_path / "set")
    assert status_of(create_data.main, "synthetic", *out, *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_the_note_holds_the_recipe(root):
    note = json.loads((root / "synthetic.json").read_text())
    assert (note["seed"], note["width"], note["height"]) == (5, 160, 48)


def test_one_split_alone_has_the_same_frames(root, tmp_path):
    """Twenty-four frames to test on need no hour for 1200 to train on."""
    few = make(tmp_path / "few", only="val")
    everything = hashes(root)
    found = hashes(few)
    assert {name.split("/")[-1] for name in found if "label_2" in name} == {
        "000003.txt"
    }
    assert all(everything[name] == value for name, value in found.items())
    assert sorted(p.name for p in (few / "ImageSets").iterdir()) == ["val.txt"]
    with pytest.raises(DataError, match="--only val: there are no such frames"):
        make(tmp_path / "none", only="val", val_frames=0)


def test_the_tool_makes_one_split(tmp_path, capsys):
    words = ("--out", tmp_path, "--size", SIZE, "--val-frames", 1, "--only", "val")
    assert status_of(create_data.main, "synthetic", *words) == 0
    assert capsys.readouterr().out.startswith("1 frames of the split val in ")
    names = [path.name for path in (tmp_path / "training" / "label_2").iterdir()]
    assert names == ["001200.txt"]
