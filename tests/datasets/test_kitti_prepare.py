"""The `create_data.py kitti` command, end to end on a tiny folder."""

import importlib.util
import re
import shutil

import cv2
import numpy as np
import pytest
from kitti_makers import DEPTH_M, FRAME_IDS, HEIGHT, WIDTH, make_kitti
from tool_runner import status_of

from perception.core.structures import DataError
from perception.datasets.kitti import prepare as kitti_prepare
from perception.datasets.kitti.files import read_depth, read_points, write_points
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


def test_depth_elsewhere_leaves_the_root_alone(root, tool, tmp_path, capsys):
    before = sorted(root.rglob("*"))
    out = tmp_path / "depth"
    assert tool("--root", root, "--depth", "--check", "--depth-dir", out) == 2
    assert sorted(root.rglob("*")) == before
    told = capsys.readouterr().out
    assert f"configs read it with --cfg-options depth_dir={out}\n" in told
    depth = SensorSource("depth", str(out))
    for more in ({"sources": {"depth": depth}}, {"depth_dir": out}):
        frame = KittiFrames(root, **more)[0]
        assert frame.sources["depth"] == f"{out}/{frame.frame_id}.png"


def test_a_bare_name_is_a_folder_of_kittis(root, tool):
    assert tool("--root", root, "--depth", "--depth-dir", "depth_sgm") == 0
    frame = KittiFrames(root, depth_dir="depth_sgm")[0]
    assert frame.sources["depth"].startswith(f"{root}/training/depth_sgm/")


def test_a_source_that_cannot_be_made_is_named(root):
    with pytest.raises(DataError, match=r"source of sensor 'depth': .*'kind'"):
        KittiFrames(root, sources={"depth": {"folder": "depth_2"}})


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


# What no reader refuses, and what makes a training useless all the same.


def as_float64(root):
    points = np.random.default_rng(0).normal(size=(200, 4)) * [20, 20, 2, 0.1]
    content = points.astype(np.float32).astype("<f8").tobytes()
    (root / "training/velodyne/000000.bin").write_bytes(content)


def spoil_points(change):
    def spoil(root):
        path = root / "training/velodyne/000000.bin"
        write_points(path, change(read_points(path)))

    return spoil


def spoil_label(box):
    line = f"Car 0 0 0 {box} 1 1 1 0 0 9 0\n"
    return lambda root: (root / "training/label_2/000000.txt").write_text(line)


def other_names(root):
    for path in (root / "training/label_2").iterdir():
        path.write_text(path.read_text().replace("Car", "automobile"))


def other_size(root):
    path = root / "training/calib/000000.txt"
    path.write_text(path.read_text().replace("6.000000000000e+01", "600"))


def one_picture(root):
    left, right = (root / f"training/image_{i}/000000.png" for i in (2, 3))
    right.write_bytes(left.read_bytes())


def dense_points(root):
    """A cloud on the wall that every pixel shows, and depth in another unit."""
    rng = np.random.default_rng(0)
    points = rng.random((200, 4)) * [4, 1, 0, 1] + [-2, -0.5, DEPTH_M, 0]
    write_points(root / "training/velodyne/000000.bin", points)
    depth = np.full((HEIGHT, WIDTH), int(DEPTH_M * 1000), np.uint16)  # millimetres
    (root / "training/depth_2").mkdir()
    cv2.imwrite(str(root / "training/depth_2/000000.png"), depth)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (as_float64, "velodyne/000000.bin: .*and these look like float64"),
        (spoil_points(lambda p: p * [1, 1, 1, 255]), r"reflectance must be 0 … 1, got"),
        (spoil_points(lambda p: p * [1, 1, -1, 1]), "0 of 5 points fall into the pict"),
        (
            dense_points,
            r"depth_2/000000.png: its depth is 3\.9 times that of the LiDAR",
        ),
        (spoil_label("0.1 0.2 0.5 0.6"), "line 1: box .* is smaller than a pixel"),
        (spoil_label("500 2 600 20"), r"box \[500.0, 2.0, .* is not in the picture"),
        (other_names, "no object is called Car, .* labels are called automobile"),
        (other_size, r"P2 has its centre at \(600, 20\) px, outside the picture"),
        (one_picture, "image_3/000000.png: is the left picture"),
        (
            lambda root: cv2.imwrite(
                str(root / "training/image_2/000000.png"),
                np.full((HEIGHT, WIDTH, 3), 4000, np.uint16),
            ),
            "image_2/000000.png: a picture must have 8 bits per channel, got uint16 up",
        ),
        (
            lambda root: (root / "ImageSets/val.txt").write_text("000000\n000001\n"),
            "frames to train on and to validate on: 000000",
        ),
    ],
)
def test_check_finds_what_makes_a_training_useless(root, tool, capsys, spoil, message):
    (root / "ImageSets/val.txt").write_text("000001\n")
    assert tool("--root", root, "--check") == 0
    spoil(root)
    assert tool("--root", root, "--check") == 2
    output = capsys.readouterr()
    assert re.search(message, output.out), output.out
    assert "problem(s), listed above" in output.err


def test_check_takes_kittis_own_list_of_test_frames(root, tool, capsys):
    """It is about the folder `testing`, which many do not download."""
    (root / "ImageSets/val.txt").write_text("000001\n")
    (root / "ImageSets/test.txt").write_text("000000\n007517\n")
    assert tool("--root", root, "--check") == 0
    shutil.copytree(root / "training", root / "testing")
    assert tool("--root", root, "--check") == 2
    assert "test.txt: no such frames: 007517" in capsys.readouterr().out


def test_macs_companions_of_files_are_no_files(root, tool, capsys):
    (root / "ImageSets/val.txt").write_text("000001\n")
    for folder in ("ImageSets", *(f"training/{d}" for d in ("image_2", "calib"))):
        for path in list((root / folder).iterdir()):
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    assert tool("--root", root, "--check") == 0
    assert len(KittiFrames(root, "all")) == 3
