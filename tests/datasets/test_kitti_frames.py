"""The frame reader: what it finds, what may be missing, what it says otherwise."""

import logging
import pickle

import numpy as np
import pytest
from kitti_makers import DEPTH_M, FRAME_IDS, HEIGHT, WIDTH, make_kitti

from perception.core.structures import DataError
from perception.datasets.kitti.files import write_depth, write_image, write_points
from perception.datasets.kitti.reader import KITTI_SOURCES, KittiFrames, SensorSource
from perception.datasets.splits import random_split, read_split, write_split


@pytest.fixture
def root(tmp_path):
    return make_kitti(tmp_path / "a kitti")


def test_a_frame_holds_every_sensor(root):
    frames = KittiFrames(root, "train")
    assert [frame.frame_id for frame in frames] == ["000002", "000000"]
    frame = frames[-1]
    assert frame.image_size == (HEIGHT, WIDTH)
    shapes = {name: array.shape for name, array in frame.sensors.items()}
    assert shapes == {
        "camera": (HEIGHT, WIDTH, 3),
        "lidar": (5, 4),
        "depth": (HEIGHT, WIDTH),
    }
    assert list(frame.calibration.cam_T_sensor) == ["lidar"]
    assert frame.objects.names.tolist() == ["Car"]
    assert frame.sources["lidar"] == str(root / "training/velodyne/000000.bin")
    assert set(frame.sources) == {"camera", "lidar", "depth", "calib", "objects"}


def test_depth_is_computed_once_said_and_read_when_there(root, caplog):
    with caplog.at_level(logging.WARNING):
        frames = KittiFrames(root)
        depth_m = frames[0].sensors["depth"]
        frames[1]
    assert np.median(depth_m[depth_m > 0]) == pytest.approx(DEPTH_M, rel=0.01)
    (record,) = caplog.records
    assert "3 of 3 frames" in record.message
    assert "create_data.py kitti --depth" in record.message
    for frame_id in FRAME_IDS:
        path = root / f"training/depth_2/{frame_id}.png"
        write_depth(path, np.full((HEIGHT, WIDTH), 7.0))
    caplog.clear()
    frame = KittiFrames(root)[0]
    assert (frame.sensors["depth"] == 7).all()
    assert not caplog.records


def test_depth_from_any_folder(root, tmp_path):
    for frame_id in FRAME_IDS:
        write_depth(tmp_path / f"d/{frame_id}.png", np.ones((HEIGHT, WIDTH)))
    depth = {"kind": "depth", "folder": str(tmp_path / "d")}
    frames = KittiFrames(root, sources={"depth": depth})
    assert (frames[0].sensors["depth"] == 1).all()


def test_without_the_right_image_depth_may_be_optional(root):
    (root / "training/image_3/000001.png").unlink()
    with pytest.raises(DataError, match=r"'depth' file, and right image.*000001;"):
        KittiFrames(root)
    assert len(KittiFrames(root, "train")) == 2
    frames = KittiFrames(root, optional_sensors=["depth"])
    assert [sorted(frame.sensors) for frame in frames] == [
        ["camera", "depth", "lidar"],
        ["camera", "lidar"],
        ["camera", "depth", "lidar"],
    ]


def test_without_any_right_image(root):
    for path in (root / "training/image_3").iterdir():
        path.unlink()
    (root / "training/image_3").rmdir()
    with pytest.raises(DataError, match=r"depth_2: no such folder; expected"):
        KittiFrames(root)
    assert "depth" not in KittiFrames(root, optional_sensors=["depth"])[0].sensors


def test_a_fourth_sensor_and_fewer(root):
    for frame_id in FRAME_IDS:
        write_points(root / f"training/radar/{frame_id}.bin", np.ones((2, 5)))
    sources = {**KITTI_SOURCES, "radar": SensorSource("points", "radar", columns=5)}
    frame = KittiFrames(root, sources=sources)[0]
    assert list(frame.sensors) == ["camera", "lidar", "depth", "radar"]
    assert frame.sensors["radar"].shape == (2, 5)
    assert list(frame.calibration.cam_T_sensor) == ["lidar", "radar"]
    few = KittiFrames(root, sources=sources, sensors=["radar", "camera"])[0]
    assert list(few.sensors) == ["radar", "camera"]
    with pytest.raises(ValueError, match="'sonar'"):
        KittiFrames(root, sensors=["sonar"])


def test_jpegs_and_no_labels(root):
    for folder in ("image_2", "image_3"):
        for frame_id in FRAME_IDS:
            path = root / f"training/{folder}/{frame_id}.png"
            write_image(path.with_suffix(".jpg"), np.zeros((30, 50, 3), np.uint8))
            path.unlink()
    for path in (root / "training/label_2").iterdir():
        path.unlink()
    (root / "training/label_2").rmdir()
    frame = KittiFrames(root)[0]
    assert frame.image_size == (30, 50)
    assert frame.objects is None
    assert "objects" not in frame.sources


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("velodyne/000001.bin", "velodyne: 'lidar' file missing .*000001;"),
        ("calib/000000.txt", "calibration file missing .*000000;"),
        ("label_2/000000.txt", "label file missing .*000000;"),
    ],
)
def test_a_missing_file_is_found_before_anything_is_read(root, path, message):
    (root / "training" / path).unlink()
    with pytest.raises(DataError, match=message):
        KittiFrames(root)


@pytest.mark.parametrize("folder", ["image_2", "velodyne", "calib"])
def test_a_missing_folder_names_the_layout(root, folder):
    (root / "training" / folder).rename(root / "elsewhere")
    with pytest.raises(DataError, match=f"{folder}: no such folder; expected ROOT/"):
        KittiFrames(root)


def test_sizes_that_disagree(root):
    write_depth(root / "training/depth_2/000000.png", np.ones((HEIGHT, WIDTH + 1)))
    write_image(
        root / "training/image_3/000001.png", np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8)
    )
    frames = KittiFrames(root)
    with pytest.raises(DataError, match=r"depth_2/000000.png: size \(40, 121\)"):
        frames[0]
    with pytest.raises(DataError, match=r"image_3/000001.png: left and right"):
        frames[1]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        pytest.param(["000001", "000001"], "repeated frame ids: 000001", id="twice"),
        pytest.param(["7", "000001", "8"], "no such frames: 7, 8", id="unknown"),
        pytest.param([], "no frames", id="empty"),
        pytest.param("val", r"ImageSets/val.txt: cannot read", id="no file"),
    ],
)
def test_bad_splits(root, split, message):
    with pytest.raises(DataError, match=message):
        KittiFrames(root, split)


def test_a_split_by_path_and_its_bad_lines(root, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("000001\n\n000002\r\n")
    assert KittiFrames(root, path).frame_ids == ["000001", "000002"]
    assert KittiFrames(root, str(path)).frame_ids == ["000001", "000002"]
    path.write_text("000001\n000002 1\n")
    with pytest.raises(DataError, match=r"mine\.txt, line 2: expected one frame id"):
        KittiFrames(root, path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"mine\.txt: expected a text file"):
        KittiFrames(root, path)


def test_slices_indices_and_pickles(root):
    frames = KittiFrames(root)
    assert [frame.frame_id for frame in frames[1:]] == ["000001", "000002"]
    with pytest.raises(IndexError):
        frames[3]
    again = pickle.loads(pickle.dumps(frames))[0]
    np.testing.assert_array_equal(again.sensors["depth"], frames[0].sensors["depth"])


def test_random_split_is_reproducible_whatever_the_order(tmp_path):
    ids = [f"{i:06d}" for i in range(100)]
    fractions = {"train": 0.7, "val": 0.2}
    split = random_split(ids, seed=3, fractions=fractions)
    assert {name: len(part) for name, part in split.items()} == {"train": 70, "val": 20}
    assert not set(split["train"]) & set(split["val"])
    assert split == random_split(ids[::-1], seed=3, fractions=fractions)
    assert split != random_split(ids, seed=4, fractions=fractions)
    write_split(tmp_path / "a.txt", split["val"])
    assert read_split(tmp_path / "a.txt") == split["val"]


@pytest.mark.parametrize("fractions", [{"a": 0}, {"a": 0.6, "b": 0.6}, {"a": -1}])
def test_fractions_that_are_none(fractions):
    with pytest.raises(ValueError, match="fractions"):
        random_split(["1"], seed=0, fractions=fractions)


def test_a_split_of_too_few_frames_is_refused():
    with pytest.raises(DataError, match=r"2 frame\(s\) are too few .*: val would be"):
        random_split(["1", "2"], seed=0, fractions={"train": 0.9, "val": 0.1})


def test_real_frames(kitti_root):
    frame = KittiFrames(kitti_root, "val", optional_sensors=["depth"])[0]
    assert frame.sensors["camera"].shape[:2] == frame.image_size
    assert frame.calibration.baseline_m == pytest.approx(0.54, abs=0.02)
    assert len(frame.objects)
