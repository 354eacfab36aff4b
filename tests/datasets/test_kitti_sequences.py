"""KITTI's drives in their three layouts, and the real ones where they are."""

from pathlib import Path

import numpy as np
import pytest
from tiny_kitti import CALIBRATION, make_frame
from tool_runner import status_of

from perception.cli import create_data
from perception.core.structures import DataError
from perception.datasets.kitti.files import write_image, write_points
from perception.datasets.kitti.reader import KittiFrames
from perception.datasets.kitti.sequences import oxts_pose

REAL = Path(__file__).resolve().parents[3] / "shared" / "kitti_sequences"
LATITUDE, STEP_DEG = 49.0, 1e-5
OXTS = [LATITUDE, 8.4, 110.0, 0.0, 0.0, np.pi / 2]  # looking north


def row(*numbers):
    return " ".join(map(repr, np.ravel(numbers).astype(float).tolist()))


def oxts_at(index):
    return row([LATITUDE + index * STEP_DEG, *OXTS[1:]])


def write_frames(left, right, points, name):
    for index in range(3):
        frame = make_frame(index)
        write_image(left / f"{index:{name}}.png", frame.sensors["camera"])
        write_image(right / f"{index:{name}}.png", frame.sensors["camera"])
        write_points(points / f"{index:{name}}.bin", frame.sensors["lidar"])


P2, P3 = CALIBRATION.image_P_cam, CALIBRATION.right_P_cam
VELO = CALIBRATION.cam_T_sensor["lidar"][:3]
IMU = np.eye(4)[:3]


def make_raw(root):
    drive = root / "2011_09_26" / "2011_09_26_drive_0005_sync"
    folders = ("image_02", "image_03", "velodyne_points")
    write_frames(*(drive / folder / "data" for folder in folders), "010d")
    stamps = [f"2011-09-26 13:02:2{n}.594360375" for n in range(3)]
    (drive / "image_02/timestamps.txt").write_text("\n".join(stamps) + "\n")
    (drive / "oxts/data").mkdir(parents=True)
    for index in range(3):
        (drive / f"oxts/data/{index:010d}.txt").write_text(oxts_at(index))
    (root / "2011_09_26/calib_cam_to_cam.txt").write_text(
        "calib_time: 09-Jan-2012 13:57:47\ncorner_dist: 9.950000e-02\n"
        f"R_rect_00: {row(np.eye(3))}\nP_rect_02: {row(P2)}\nP_rect_03: {row(P3)}\n"
    )
    for name, matrix in (("velo_to_cam", VELO), ("imu_to_velo", IMU)):
        text = f"R: {row(matrix[:, :3])}\nT: {row(matrix[:, 3])}\n"
        (root / f"2011_09_26/calib_{name}.txt").write_text(text)
    return "2011_09_26_drive_0005_sync-0000000001", 1.0


def make_tracking(root):
    base = root / "training"
    folders = ("image_02/0000", "image_03/0000", "velodyne/0000")
    write_frames(*(base / folder for folder in folders), "06d")
    for folder in ("calib", "oxts", "label_02"):
        (base / folder).mkdir()
    (base / "calib/0000.txt").write_text(
        f"P2: {row(P2)}\nP3: {row(P3)}\nR_rect {row(np.eye(3))}\n"
        f"Tr_velo_cam {row(VELO)}\nTr_imu_velo {row(IMU)}\n"
    )
    (base / "oxts/0000.txt").write_text("\n".join(oxts_at(n) for n in range(3)))
    label = "Car 0 0 -1.57 8.0 3.0 32.0 30.0 1.5 1.6 4.0 1.0 1.5 10.0 -1.5"
    (base / "label_02/0000.txt").write_text(
        f"0 -1 DontCare{label[3:]}\n1 7 {label}\n1 8 {label}\n"
    )
    return "0000-000001", 0.1


def make_odometry(root):
    folders = ("image_2", "image_3", "velodyne")
    write_frames(*(root / "07" / folder for folder in folders), "06d")
    (root / "07/calib.txt").write_text(
        f"P2: {row(P2)}\nP3: {row(P3)}\nTr: {row(VELO)}\n"
    )
    (root / "07/times.txt").write_text("0.0\n1.036e-01\n2.072e-01\n")
    poses = []
    for index in range(3):
        pose = np.eye(4)[:3]
        pose[2, 3] = 1.11319 * index
        poses.append(row(pose))
    (root / "07/poses.txt").write_text("\n".join(poses) + "\n")
    return "07-000001", 0.1036


@pytest.mark.parametrize("make", [make_raw, make_tracking, make_odometry])
def test_drives_in_each_layout(tmp_path, make):
    name, seconds = make(tmp_path / "in")
    words = ("sequences", "--root", tmp_path / "in", "--out", tmp_path / "out")
    assert status_of(create_data.main, *words) == 0
    assert status_of(create_data.main, *words) == 0  # and again
    frames = KittiFrames(tmp_path / "out", "complete")
    assert frames.frame_ids[1] == name
    frame, made = frames[1], make_frame(1)
    for sensor in ("camera", "lidar"):
        np.testing.assert_array_equal(frame.sensors[sensor], made.sensors[sensor])
    assert "depth" in frame.sensors  # of the pair
    for field in ("image_P_cam", "right_P_cam"):
        expected = getattr(CALIBRATION, field)
        np.testing.assert_allclose(getattr(frame.calibration, field), expected)
    found = frame.calibration.cam_T_sensor["lidar"]
    np.testing.assert_allclose(found, CALIBRATION.cam_T_sensor["lidar"], atol=1e-9)
    assert frames.previous(0) is None
    before = frames.previous(1)
    assert (before.number, before.seconds) == (0, pytest.approx(seconds))
    # 1e-5 degrees of latitude further north, straight ahead: 1.11 m.
    expected = [0, 0, -np.radians(STEP_DEG) * 6378137]
    np.testing.assert_allclose(before.now_T_before[:3, 3], expected, atol=1e-4)
    np.testing.assert_allclose(before.now_T_before[:3, :3], np.eye(3), atol=1e-9)
    links = tmp_path / "out/training/velodyne"
    assert all(path.is_symlink() for path in links.iterdir())
    if make is make_tracking:
        assert [len(f.objects) for f in frames] == [1, 2, 0]
    else:
        assert frame.objects is None


def test_the_way_of_gps_and_imu():
    """KITTI's own convention: x east, y north, z up; yaw 0 looks east."""
    east = oxts_pose([LATITUDE, 8.4, 0, 0, 0, 0.3], latitude_deg=LATITUDE)
    further = oxts_pose([LATITUDE, 8.4 + 1e-5, 0, 0, 0, 0.3], latitude_deg=LATITUDE)
    moved = further[:3, 3] - east[:3, 3]
    metres = np.radians(1e-5) * 6378137 * np.cos(np.radians(LATITUDE))
    np.testing.assert_allclose(moved, [metres, 0, 0], atol=1e-6)
    np.testing.assert_allclose(east[:3, 0], [np.cos(0.3), np.sin(0.3), 0], atol=1e-12)


def test_errors_name_the_file(tmp_path, capsys):
    words = ("sequences", "--root", tmp_path, "--out", tmp_path / "out")
    assert status_of(create_data.main, *words) == 2
    assert "no drives: expected" in capsys.readouterr().err
    make_odometry(tmp_path)
    (tmp_path / "07/times.txt").write_text("0.0\n")
    with pytest.raises(DataError, match=r"times\.txt: 1 lines, but 3 frames"):
        create_data.main([str(word) for word in words])
    (tmp_path / "07/calib.txt").write_text("P2: 1 2\n")
    with pytest.raises(DataError, match="P2 has 2 numbers"):
        create_data.main([str(word) for word in words])


def test_real_drives(tmp_path, capsys):
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not there: no real drive is read")
    words = ("sequences", "--root", REAL, "--out", tmp_path / "out")
    assert status_of(create_data.main, *words) == 0
    said = capsys.readouterr().out
    assert "stereo_0005: image_2 9, image_3 9, velodyne 9, label_2 9" in said
    frames = KittiFrames(tmp_path / "out", sensors=("camera", "lidar"), label_dir="-")
    assert len(frames) == 87
    number = frames.frame_ids.index("stereo_0005-000003")
    before = frames.previous(number)
    assert (before.number, before.seconds) == (number - 1, pytest.approx(0.1))
    assert before.now_T_before is None  # there is no GPS/IMU
    assert frames[number].sensors["camera"].shape == (375, 1242, 3)
    assert len(frames[number].sensors["lidar"]) > 10_000
