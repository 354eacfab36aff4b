"""The `create_data.py kitti` command, end to end on a tiny folder."""

import importlib.util

import cv2
import numpy as np
import pytest
from kitti_makers import DEPTH_M, FRAME_IDS, HEIGHT, WIDTH, make_kitti
from tool_runner import status_of

from perception.core.structures import DataError
from perception.datasets.kitti import prepare as kitti_prepare
from perception.datasets.kitti.files import read_depth
from perception.datasets.kitti.reader import KittiFrames, SensorSource


@pytest.fixture
def root(tmp_path):
    return make_kitti(tmp_path / "kitti")


@pytest.fixture
def tool(repo_root):
    path = repo_root / "tools/create_data.py"
    spec = importlib.util.spec_from_file_location("create_data", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *words: status_of(module.main, "kitti", "--jobs", 1, *words)


def test_depth_is_cached_and_the_reader_agrees(root, tool, capsys):
    computed = [frame.sensors["depth"] for frame in KittiFrames(root)]
    assert tool("--root", root, "--depth") == 0
    assert "depth is in" in capsys.readouterr().out
    frames = KittiFrames(root)
    for frame, on_the_fly in zip(frames, computed, strict=True):
        assert frame.sources["depth"].endswith(f"depth_2/{frame.frame_id}.png")
        np.testing.assert_allclose(frame.sensors["depth"], on_the_fly, atol=0.5 / 256)
        depth_m = frame.sensors["depth"]
        assert np.median(depth_m[depth_m > 0]) == pytest.approx(DEPTH_M, rel=0.01)


def test_only_what_is_missing_or_damaged_is_computed(root, tool):
    tool("--root", root, "--depth")
    depth = [root / f"training/depth_2/{frame_id}.png" for frame_id in FRAME_IDS]
    valid = [path.read_bytes() for path in depth]
    cv2.imwrite(str(depth[0]), np.full((HEIGHT, WIDTH), 77, np.uint16))
    kept = depth[0].read_bytes()
    depth[1].write_bytes(valid[1][:-9])
    depth[2].unlink()
    assert tool("--root", root, "--depth") == 0
    assert [path.read_bytes() for path in depth] == [kept, valid[1], valid[2]]


def test_processes_change_nothing(root, tmp_path):
    for jobs in (1, 2):
        kitti_prepare.cache_stereo_depth(root, tmp_path / str(jobs), jobs=jobs)
    for frame_id in FRAME_IDS:
        one, two = (tmp_path / jobs / f"{frame_id}.png" for jobs in "12")
        assert one.read_bytes() == two.read_bytes()


def test_depth_elsewhere_leaves_the_root_alone(root, tool, tmp_path):
    before = sorted(root.rglob("*"))
    out = tmp_path / "depth"
    assert tool("--root", root, "--depth", "--depth-out", out) == 0
    assert sorted(root.rglob("*")) == before
    depth = SensorSource("depth", str(out))
    assert KittiFrames(root, sources={"depth": depth})[0].sensors["depth"].any()


def test_frames_without_right_image_are_listed(root, tool, capsys):
    (root / "training/image_3/000001.png").unlink()
    assert tool("--root", root, "--depth") == 0
    assert "no right image, hence no depth: 000001\n" in capsys.readouterr().out


def test_one_bad_frame_does_not_stop_the_others(root, tool, capsys):
    (root / "training/image_3/000000.png").write_bytes(b"")
    assert tool("--root", root, "--depth") == 2
    output = capsys.readouterr()
    assert "image_3/000000.png: expected a PNG or JPEG" in output.out
    assert output.err.splitlines()[-1].endswith("1 problem(s), listed above")
    assert read_depth(root / "training/depth_2/000002.png").any()


def test_a_root_that_cannot_be_written(root, tool, monkeypatch, capsys):
    def fail(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("perception.core.files.os.replace", fail)
    assert tool("--root", root, "--depth") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert last.endswith("000000.png: cannot write: Permission denied")
    assert not list((root / "training/depth_2").iterdir())


def test_check_finds_nothing_wrong(root, tool, capsys):
    assert tool("--root", root, "--depth", "--check") == 2
    assert "ImageSets/val.txt: missing" in capsys.readouterr().out
    (root / "ImageSets/val.txt").write_text("000001\n")
    assert tool("--root", root, "--check") == 0
    assert "no problem found" in capsys.readouterr().out


def test_check_reports_every_problem(root, tool, capsys):
    tool("--root", root, "--depth")
    base = root / "training"
    (base / "image_2/000000.png").write_bytes(b"")
    (base / "velodyne/000000.bin").write_bytes(b"\0" * 17)
    (base / "velodyne/000001.bin").write_bytes(b"")
    (base / "calib/000001.txt").write_text("P2: 1\n")
    (base / "label_2/000001.txt").unlink()
    (base / "label_2/000002.txt").write_text("Car 0 0 0 9 9 3 10 1 1 1 0 0 9 0\n")
    (base / "label_2/000009.txt").write_text("")
    cv2.imwrite(str(base / "depth_2/000002.png"), np.ones((3, 3), np.uint16))
    (root / "ImageSets/val.txt").write_text("000001\n000001\n")
    assert tool("--root", root, "--check") == 2
    output = capsys.readouterr()
    for expected in (
        "image_2/000000.png: expected a PNG",
        "velodyne/000000.bin: expected a multiple of 16",
        "velodyne/000001.bin: holds no points",
        "calib/000001.txt, line 1: P2 must have 12",
        "label_2/000001.txt: cannot read",
        "label_2/000002.txt, line 1: box must have x1 <= x2",
        "label_2: no image for 000009",
        "depth_2/000002.png: size (3, 3) disagrees",
        "ImageSets/val.txt: repeated frame ids: 000001",
    ):
        assert expected in output.out
    assert "9 problem(s)" in output.err


def test_a_random_split_is_written_once(root, tool, tmp_path, capsys):
    words = ("--root", root, "--split-seed", 1, "--val-fraction", 0.34)
    assert tool(*words) == 2
    assert "train.txt: exists" in capsys.readouterr().err
    assert tool(*words, "--split-out", tmp_path) == 0
    train, val = (KittiFrames(root, tmp_path / f"{n}.txt") for n in ("train", "val"))
    assert (len(train), len(val)) == (2, 1)
    assert sorted(train.frame_ids + val.frame_ids) == list(FRAME_IDS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--root", "nowhere", "--depth"], "nowhere/training", id="root"),
        pytest.param(["--root", "nowhere"], "nothing to do", id="nothing"),
    ],
)
def test_errors_are_one_line(tool, capsys, words, message):
    assert tool(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.parametrize("fraction", ["0", "1", "x"])
def test_fractions_out_of_range_are_usage_errors(tool, fraction):
    assert tool("--root", "a", "--split-seed", 1, "--val-fraction", fraction) == 2


def test_a_full_disk_stops_at_once(root, monkeypatch):
    def fail(*args):
        raise DataError("000000.png: cannot write: No space left on device")

    monkeypatch.setattr(kitti_prepare.files, "write_depth", fail)
    with pytest.raises(DataError, match="No space left"):
        kitti_prepare.cache_stereo_depth(root, root / "training/depth_2")
