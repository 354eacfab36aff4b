"""KITTI's text and point files: exact values, clear errors, nothing half-written."""

import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from perception.core.files import read_json
from perception.core.structures import Calibration, DataError, Objects
from perception.datasets.kitti.files import (
    read_calib,
    read_objects,
    read_points,
    write_calib,
    write_depth,
    write_image,
    write_objects,
    write_points,
)
from perception.datasets.splits import read_split

LABEL = (
    "Car 0.25 1 -1.50 100.00 110.50 200.25 180.75 1.50 1.60 4.00 2.00 1.70 20.00 -1.40"
)
DONT_CARE = "DontCare -1 -1 -10 5.00 6.00 7.00 8.00 -1 -1 -1 -1000 -1000 -1000 -10"
CALIB = (
    "P2: 700 0 600 45 0 700 170 0.2 0 0 1 0.003\n"
    "P3: 700 0 600 -333 0 700 170 2.2 0 0 1 0.003\n"
    "R0_rect: 0 -1 0 1 0 0 0 0 1\n"
    "Tr_velo_to_cam: 1 0 0 5 0 1 0 6 0 0 1 7\n"
)
FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def written(folder: Path, content: str | bytes, name: str = "000017.txt") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# Points


def test_points_come_back_bit_by_bit(tmp_path):
    points = np.array([[1.5, -2.25, 0.1, 0.99], [60, 0, -1.7, 0]], dtype=np.float32)
    write_points(tmp_path / "a.bin", points)
    assert (tmp_path / "a.bin").stat().st_size == 2 * 4 * 4
    again = read_points(tmp_path / "a.bin")
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again, points)


def test_points_with_more_columns_and_none(tmp_path):
    write_points(tmp_path / "a.bin", np.ones((3, 6)))
    assert read_points(tmp_path / "a.bin", columns=6).shape == (3, 6)
    write_points(tmp_path / "b.bin", np.ones((0, 4)))
    assert read_points(tmp_path / "b.bin").shape == (0, 4)


def test_read_points_may_be_changed(tmp_path):
    write_points(tmp_path / "a.bin", np.ones((3, 4)))
    read_points(tmp_path / "a.bin")[0] = 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"\0" * 17, "multiple of 16 bytes.*got 17", id="odd size"),
        pytest.param(b"\0" * 12, "multiple of 16 bytes", id="three columns"),
        pytest.param(
            np.array([[1, 2, 3, 4], [1, np.nan, 3, 4]], "<f4").tobytes(),
            "1 of 2 points are not finite, the first is point 1",
            id="NaN",
        ),
        pytest.param(
            np.array([[np.inf, 2, 3, 4]], "<f4").tobytes(), "not finite", id="infinity"
        ),
    ],
)
def test_bad_points(tmp_path, content, message):
    path = written(tmp_path, content, "000017.bin")
    with pytest.raises(DataError, match=f"000017.bin.*{message}"):
        read_points(path)


def test_missing_file_and_folder_in_its_place(tmp_path):
    for read in (read_points, read_calib, read_objects):
        with pytest.raises(DataError, match=r"nowhere.*No such file"):
            read(tmp_path / "nowhere")
        with pytest.raises(DataError, match="cannot read"):
            read(tmp_path)


@pytest.mark.parametrize("points", [np.full((2, 4), np.nan), np.ones(4)])
def test_points_not_worth_writing(tmp_path, points):
    with pytest.raises(DataError, match=r"a\.bin.*finite"):
        write_points(tmp_path / "a.bin", points)
    assert not list(tmp_path.iterdir())


# Calibration


def test_calib_by_hand(tmp_path):
    calibration = read_calib(written(tmp_path, CALIB), points_sensor="scanner")
    assert calibration.fx_px == 700
    # (45 + 333) / 700
    assert calibration.baseline_m == pytest.approx(0.54)
    # Rectification turns (x, y, z) to (-y, x, z), after the shift by (5, 6, 7).
    expected = [[0, -1, 0, -6], [1, 0, 0, 5], [0, 0, 1, 7], [0, 0, 0, 1]]
    np.testing.assert_array_equal(calibration.cam_T_sensor["scanner"], expected)


def test_calib_without_right_camera(tmp_path):
    lines = [line for line in CALIB.split("\n") if not line.startswith("P3")]
    calibration = read_calib(written(tmp_path, "\n".join(lines)))
    assert calibration.right_P_cam is None
    assert calibration.baseline_m is None
    write_calib(tmp_path / "again.txt", calibration)
    assert read_calib(tmp_path / "again.txt").right_P_cam is None


@given(
    arrays(np.float64, (3, 4), elements=st.floats(-900, 900)),
    arrays(np.float64, (3, 4), elements=st.floats(-90, 90)),
)
@FUZZ
def test_calib_round_trip(tmp_path, noise, transform):
    cam_T_velo = np.vstack([transform, [0, 0, 0, 1]])
    left = noise.copy()
    left[[0, 1, 2], [0, 1, 2]] = 700, 700, 1
    right = left.copy()
    right[0, 3] -= 350
    write_calib(tmp_path / "a.txt", Calibration(left, {"lidar": cam_T_velo}, right))
    again = read_calib(tmp_path / "a.txt")
    close = {"rtol": 1e-12, "atol": 0}
    np.testing.assert_allclose(again.image_P_cam, left, **close)
    np.testing.assert_allclose(again.right_P_cam, right, **close)
    np.testing.assert_allclose(again.cam_T_sensor["lidar"], cam_T_velo, **close)


def test_written_calib_has_all_of_kittis_keys_in_order(tmp_path):
    write_calib(tmp_path / "a.txt", read_calib(written(tmp_path, CALIB)))
    keys = re.findall(r"^(\w+): ", (tmp_path / "a.txt").read_text(), re.M)
    expected = ["P0", "P1", "P2", "P3", "R0_rect", "Tr_velo_to_cam", "Tr_imu_to_velo"]
    assert keys == expected


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param("R0_rect", "R1", "key.s. missing: R0_rect", id="missing key"),
        pytest.param(
            "P2: 700", "P2:", "line 1: P2 must have 12 values, got 11", id="11"
        ),
        pytest.param("P2: 700", "P2: 700 1", "12 values, got 13", id="13"),
        pytest.param("P2: 700", "P2: seven", "line 1: expected numbers", id="word"),
        pytest.param("-333", "nan", "line 2: numbers must be finite", id="NaN"),
        pytest.param("P2: 700", "P2: 0", "P2 has a zero on its diagonal", id="fx = 0"),
    ],
)
def test_bad_calib(tmp_path, old, new, message):
    path = written(tmp_path, CALIB.replace(old, new))
    with pytest.raises(DataError, match=f"000017.txt.*{message}"):
        read_calib(path)


def test_calib_of_another_sensor_cannot_be_written(tmp_path):
    calibration = read_calib(written(tmp_path, CALIB))
    with pytest.raises(DataError, match=r"'radar', only of .'lidar'."):
        write_calib(tmp_path / "a.txt", calibration, points_sensor="radar")


# Labels and results


def test_objects_by_hand(tmp_path):
    objects = read_objects(written(tmp_path, f"{LABEL}\n{DONT_CARE}\n"))
    assert objects.names.tolist() == ["Car", "DontCare"]
    assert objects.truncation.tolist() == [0.25, -1]
    assert objects.occlusion.tolist() == [1, -1]
    assert objects.occlusion.dtype == np.int64
    assert objects.alpha.tolist() == [-1.5, -10]
    assert objects.boxes_px.tolist() == [[100, 110.5, 200.25, 180.75], [5, 6, 7, 8]]
    assert objects.dimensions_m[0].tolist() == [1.5, 1.6, 4]
    assert objects.location_m[0].tolist() == [2, 1.7, 20]
    assert objects.rotation_y.tolist() == [-1.4, -10]
    assert objects.scores is None


def test_the_example_label_comes_back_as_text(tmp_path):
    path = written(tmp_path, f"{LABEL}\n")
    write_objects(tmp_path / "again.txt", read_objects(path))
    assert (tmp_path / "again.txt").read_text() == path.read_text()


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    """Windows' editors write it; the first object of every file was lost."""
    mark = b"\xef\xbb\xbf"
    labels = written(tmp_path, mark + LABEL.encode())
    assert read_objects(labels).names.tolist() == ["Car"]
    calib = written(tmp_path, mark + CALIB.encode(), "calib.txt")
    assert read_calib(calib).fx_px == 700
    split = written(tmp_path, mark + b"000017\n", "val.txt")
    assert read_split(split) == ["000017"]
    assert read_json(written(tmp_path, mark + b"[1]", "a.json")) == [1]


@pytest.mark.parametrize("content", ["", "\n"])
@pytest.mark.parametrize("scores", [False, True])
def test_an_empty_file_is_a_frame_without_objects(tmp_path, content, scores):
    objects = read_objects(written(tmp_path, content), scores=scores)
    assert len(objects) == 0
    assert objects.boxes_px.shape == (0, 4)
    assert (objects.scores is not None) == scores
    write_objects(tmp_path / "again.txt", objects)
    assert (tmp_path / "again.txt").read_text() == ""


def test_2d_results_carry_kittis_marks_for_unknown(tmp_path):
    scores = np.array([1e-7, 0.123456789])
    boxes_px = np.array([[1, 2, 3, 4.005], [5, 6, 7, 8]])
    objects = Objects.from_boxes(["Car", "Pedestrian"], boxes_px, scores)
    write_objects(tmp_path / "a.txt", objects)
    words = (tmp_path / "a.txt").read_text().split("\n")[0].split()
    unknown = [float(word) for word in words[1:4] + words[8:15]]
    assert unknown == [-1, -1, -10, -1, -1, -1, -1000, -1000, -1000, -10]
    np.testing.assert_allclose(read_objects(tmp_path / "a.txt", True).scores, scores)


@pytest.mark.parametrize(
    ("content", "scores", "message"),
    [
        pytest.param(
            LABEL[:-5], False, "line 1: expected 15 columns .*got 14", id="14"
        ),
        pytest.param(
            f"{LABEL} 0.9", False, "expected 15 columns .*got 16", id="result"
        ),
        pytest.param(LABEL, True, "expected 16 columns .*got 15", id="no score"),
        pytest.param(f"{LABEL}\n\n{LABEL}", False, "line 2: .*got 0", id="empty line"),
        pytest.param(LABEL.replace("20.00", "x"), False, "line 1: .*'x'", id="word"),
        pytest.param(LABEL.replace("20.00", "inf"), False, "must be finite", id="inf"),
        pytest.param(
            LABEL.replace(" 1 ", " 4 "), False, "occlusion must be", id="occl"
        ),
        pytest.param(b"\xff\xfe\0", False, "expected a text file", id="binary"),
    ],
)
def test_bad_objects(tmp_path, content, scores, message):
    with pytest.raises(DataError, match=f"000017.txt.*{message}"):
        read_objects(written(tmp_path, content), scores=scores)


@pytest.mark.parametrize("name", ["", "two words", " Car", "a\nb"])
def test_names_that_would_break_the_columns(tmp_path, name):
    objects = Objects.from_boxes([name], np.zeros((1, 4)))
    with pytest.raises(DataError, match="must be one word"):
        write_objects(tmp_path / "a.txt", objects)


def test_objects_with_nan_are_not_written(tmp_path):
    for objects in (
        Objects.from_boxes(["Car"], np.full((1, 4), np.nan)),
        Objects.from_boxes(["Car"], np.zeros((1, 4)), np.array([np.nan])),
    ):
        with pytest.raises(DataError, match="finite"):
            write_objects(tmp_path / "a.txt", objects)


# Fuzz: a valid value or a DataError


@given(st.binary(max_size=200))
@FUZZ
def test_random_bytes(tmp_path, content):
    path = written(tmp_path, content)
    for read in (read_points, read_calib, read_objects):
        try:
            read(path)
        except DataError as error:
            assert str(path) in str(error)


@given(
    st.sampled_from([CALIB, f"{LABEL}\n{DONT_CARE}\n"]),
    st.integers(0, 300),
    st.text(max_size=8),
)
@FUZZ
def test_valid_files_cut_or_spliced_anywhere(tmp_path, content, position, text):
    for damaged in (content[:position], content[:position] + text + content[position:]):
        path = written(tmp_path, damaged)
        for read in (read_calib, read_objects):
            try:
                read(path)
            except DataError as error:
                assert str(path) in str(error)


# A full disk


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.bin", lambda path: write_points(path, np.ones((2, 4)))),
        ("a.txt", lambda path: write_objects(path, Objects.from_boxes([], []))),
        (
            "b.txt",
            lambda path: write_calib(
                path, Calibration(np.eye(3, 4), {"lidar": np.eye(4)})
            ),
        ),
        ("a.png", lambda path: write_image(path, np.zeros((2, 2, 3), np.uint8))),
        ("b.png", lambda path: write_depth(path, np.zeros((2, 2)))),
    ],
)
@pytest.mark.parametrize("failing", ["write", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_other(
    tmp_path, monkeypatch, name, write, failing
):
    (tmp_path / name).write_text("old")

    def fail(self, *args, **kwargs):
        if failing != "replace":
            with open(self, "wb") as file:
                file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if failing == "replace":
        monkeypatch.setattr(os, "replace", fail)
    else:
        monkeypatch.setattr(Path, "write_bytes", fail)
        monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(DataError, match=f"{name}.*No space left on device"):
        write(tmp_path / name)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"
