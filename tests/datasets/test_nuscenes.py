import json
import logging

import numpy as np
import pytest
from nuscenes_makers import (
    FX_PX,
    SCENE,
    STEP_US,
    TARGETS_M,
    VERSION,
    make_nuscenes,
    write_radar,
)

from perception.core.geometry import project_to_image, transform_points
from perception.core.structures import DataError
from perception.datasets.nuscenes.boxes import _corners, _hulls, camera_objects
from perception.datasets.nuscenes.files import read_lidar, read_radar
from perception.datasets.nuscenes.reader import (
    NUSCENES_SOURCES,
    NuScenesFrames,
    NuScenesSource,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_nuscenes(tmp_path_factory.mktemp("nuscenes") / "data")


@pytest.fixture(scope="module")
def frames(root):
    return NuScenesFrames(root, "mini_train", cameras=("CAM_FRONT", "CAM_BACK"))


def in_cam(frame, sensor):
    points = frame.sensors[sensor][:, :3].astype(np.float64)
    return transform_points(frame.calibration.cam_T_sensor[sensor], points)


def test_one_frame_per_camera_and_sample_in_order_of_time(frames):
    assert frames.frame_ids == [
        f"{SCENE}-000-CAM_FRONT",
        f"{SCENE}-001-CAM_FRONT",
        f"{SCENE}-000-CAM_BACK",
        f"{SCENE}-001-CAM_BACK",
    ]
    assert [frame.frame_id for frame in frames[:2]] == frames.frame_ids[:2]


def test_points_are_where_the_camera_sees_them_though_the_vehicle_moved(frames):
    # Seen from the camera (1.7 m ahead, 1.5 m up) when the picture was taken; the
    # LiDAR measured 50 ms and half a metre later.
    for frame, driven_m in zip(frames[:2], (0.0, 5.0), strict=True):
        x, y, z = TARGETS_M.T
        expected = np.stack([-y, 1.5 - z, x - 1.7 - driven_m], axis=1)
        np.testing.assert_allclose(in_cam(frame, "lidar"), expected, atol=1e-4)


def test_the_frame_before_is_the_camera_s_own_and_the_vehicle_s_way_is_known(frames):
    firsts = [n for n, place in enumerate(frames.places) if place.number == 0]
    assert [frames.previous(number) for number in firsts] == [None] * len(firsts)
    before = frames.previous(1)
    assert before.number == 0
    assert before.seconds == pytest.approx(0.5)
    # 5 m ahead in the meantime: what stands still is as much nearer.
    assert before.now_T_before[2, 3] == pytest.approx(-5.0)


def test_lidar_frame_has_the_vehicles_axes_and_the_sensors_place(frames):
    points = frames[0].sensors["lidar"]
    assert points.dtype == np.float32
    # 0.9 m ahead and 1.8 m up on the vehicle, which drove 0.5 m in 50 ms.
    expected = TARGETS_M - [0.9 + 0.5, 0.0, 1.8]
    np.testing.assert_allclose(points[:, :3], expected, atol=1e-4)
    np.testing.assert_allclose(points[:, 3], 51 / 255, rtol=1e-6)


def test_radars_in_view_and_sweeps_agree_on_what_stands_still(frames):
    frame = frames[1]
    # Three radars overlap the front camera; each has three sweeps of three targets.
    assert frame.sensors["radar"].shape == (27, 5)
    x, y, _ = TARGETS_M.T
    expected = np.tile(np.stack([-y, x - 1.7 - 5.0], axis=1), (9, 1))
    # Radar measures no height: all returns lie in its own plane, 0.5 m up.
    np.testing.assert_allclose(in_cam(frame, "radar")[:, [0, 2]], expected, atol=1e-4)
    np.testing.assert_allclose(in_cam(frame, "radar")[:, 1], 1.0, atol=1e-4)
    np.testing.assert_allclose(frame.sensors["radar"][:, 3], 3.0, rtol=1e-5)
    assert "RADAR_BACK" not in frame.sources["radar"]
    assert "RADAR_BACK_LEFT" in frames[2].sources["radar"]


def test_columns_and_sweeps_are_configured(root):
    lidar = {
        "modality": "lidar",
        "channels": ["LIDAR_TOP"],
        "columns": ["x", "y", "z", "ring", "age_s"],
        "sweeps": 2,
    }
    frames = NuScenesFrames(root, [SCENE], sources={"lidar": lidar})
    points = frames[1].sensors["lidar"]
    assert points.shape == (6, 5)
    np.testing.assert_allclose(points[:, 3], 7)
    # Measured 50 ms after the picture, and one step before that.
    ages = np.repeat([-0.05, STEP_US * 1e-6 - 0.05], 3)
    np.testing.assert_allclose(points[:, 4], ages, atol=1e-6)
    np.testing.assert_allclose(points[:3, :3], points[3:, :3], atol=1e-4)
    assert set(frames[1].sensors) == {"lidar"}
    assert frames[1].image_size == (90, 160)


def test_objects_carry_kittis_columns(frames):
    objects = frames[0].objects
    # The animal has no class; the truck stands behind.
    assert list(objects.names) == ["car", "pedestrian", "traffic_cone"]
    # Visibility 4 and 2; the cone has no points, so nobody has to find it.
    assert list(objects.occlusion) == [0, 2, 3]
    np.testing.assert_allclose(objects.location_m[0], [0, 1.5, 18.3], atol=1e-9)
    np.testing.assert_allclose(objects.dimensions_m[0], [1.6, 2.0, 4.0])
    np.testing.assert_allclose(objects.rotation_y[0], -np.pi / 2)
    # The car's rear, 2 m wide, is 16.3 m away: 126 * 1 / 16.3 = 7.73 px to each side.
    half_px = FX_PX * 1.0 / 16.3
    np.testing.assert_allclose(
        objects.boxes_px[0, [0, 2]], [80 - half_px, 80 + half_px]
    )
    np.testing.assert_allclose(objects.truncation, 0, atol=1e-9)
    # 5 m further the cone is cut by the lower edge of the picture.
    assert frames[1].objects.boxes_px[1, 3] == 90
    assert 0 < frames[1].objects.truncation[1] < 1


def test_boxes_equal_the_devkits_2d_export(root):
    from nuscenes.nuscenes import NuScenes
    from nuscenes.scripts import export_2d_annotations_as_json as export

    tables = NuScenes(VERSION, str(root), verbose=False)
    export.nusc = tables
    names = {row["name"]: row["name"] for row in tables.category}
    cameras = ("CAM_FRONT", "CAM_BACK")
    frames = NuScenesFrames(root, cameras=cameras, names=names)
    # The devkit's canvas is fixed; ours is the picture's.
    canvas = export.post_process_coords.__defaults__
    export.post_process_coords.__defaults__ = ((160, 90),)
    try:
        for place, frame in zip(frames.places, frames, strict=True):
            token = tables.sample[place.number]["data"][place.camera]
            expected = export.get_2d_boxes(token, ["1", "2", "3", "4"])
            assert len(expected) == len(frame.objects) > 0
            for record, box, name in zip(
                expected, frame.objects.boxes_px, frame.objects.names, strict=True
            ):
                assert record["category_name"] == name
                np.testing.assert_allclose(record["bbox_corners"], box, atol=1e-6)
    finally:
        export.post_process_coords.__defaults__ = canvas


def test_random_boxes_in_front_equal_the_devkits_hulls():
    from nuscenes.scripts.export_2d_annotations_as_json import post_process_coords

    rng = np.random.default_rng(0)
    image_P_cam = np.array([[126.0, 0, 80, 0], [0, 126, 45, 0], [0, 0, 1, 0]])
    cam_T_box = np.tile(np.eye(4), (200, 1, 1))
    for matrix in cam_T_box:
        matrix[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    cam_T_box[:, :3, 3] = rng.uniform([-8, -4, 4], [8, 4, 20], size=(200, 3))
    corners = _corners(cam_T_box, rng.uniform(0.5, 3, size=(200, 3)))
    boxes_px, truncation = _hulls(image_P_cam, corners, (90, 160))
    for corner, box, outside in zip(corners, boxes_px, truncation, strict=True):
        pixels, depth_m = project_to_image(image_P_cam, corner)
        assert (depth_m > 0).all()
        expected = post_process_coords(pixels.tolist(), (160, 90))
        if expected is None:
            assert np.isnan(box).all() and outside == 1
        else:
            np.testing.assert_allclose(box, expected, atol=1e-9)


def test_box_around_the_camera_plane_keeps_its_part_in_front():
    # A truck beside the camera, from 4 m behind to 4 m ahead, 2 … 4 m to the right:
    # the devkit drops the corners behind and with them all that is near.
    box = {
        "category": "truck",
        "translation": [3.0, 0.0, 0.0],
        "size": [2.0, 8.0, 2.0],
        "rotation": [np.sqrt(0.5), 0.0, -np.sqrt(0.5), 0.0],  # length along z
        "visibility": "4",
        "points": 1,
    }
    image_P_cam = np.array([[40.0, 0, 80, 0], [0, 40, 45, 0], [0, 0, 1, 0]])
    names = {"truck": "truck"}
    objects = camera_objects([box], names, np.eye(4), image_P_cam, (90, 160))
    # Its far end begins at 80 + 40 * 2 / 4 = 100 px. At the picture's edge (160 px) its
    # side is 1 m away, where its 1 m up and down are 40 px.
    np.testing.assert_allclose(objects.boxes_px, [[100, 5, 160, 85]], atol=1e-6)


def test_no_boxes_no_objects():
    objects = camera_objects([], {}, np.eye(4), np.eye(3, 4), (90, 160))
    assert len(objects) == 0 and objects.boxes_px.shape == (0, 4)


@pytest.mark.parametrize("seed", range(3))
def test_radar_files_are_read_as_the_devkit_reads_them(tmp_path, seed):
    from nuscenes.utils.data_classes import RadarPointCloud

    rng = np.random.default_rng(seed)
    count = 40
    points = np.append(rng.normal(0, 30, (count, 2)), np.zeros((count, 1)), axis=1)
    write_radar(
        tmp_path / "radar.pcd",
        points,
        rcs=rng.normal(0, 10, count),
        vx_comp=rng.normal(0, 5, count),
        vy_comp=rng.normal(0, 5, count),
        dyn_prop=rng.integers(0, 8, count),
        ambig_state=rng.choice([1, 3, 3, 3], count),
        invalid_state=rng.choice([0, 0, 0, 4], count),
    )
    expected = RadarPointCloud.from_file(str(tmp_path / "radar.pcd")).points
    found = read_radar(tmp_path / "radar.pcd")
    assert 0 < len(found) < count
    x, y, vx, vy = expected[[0, 1, 8, 9]]
    radial = (vx * x + vy * y) / np.hypot(x, y)
    columns = [*expected[:3], radial, expected[5]]
    np.testing.assert_allclose(found, np.stack(columns, axis=1), rtol=1e-5, atol=1e-5)


def test_a_target_that_drives_away_has_a_positive_velocity(tmp_path):
    # A 3-4-5 triangle: 10 m away, driving away at 5 m/s.
    points = np.array([[6.0, 8.0, 0.0]])
    write_radar(tmp_path / "r.pcd", points, vx_comp=[3.0], vy_comp=[4.0], rcs=[7.0])
    np.testing.assert_allclose(
        read_radar(tmp_path / "r.pcd"), [[6, 8, 0, 5, 7]], rtol=1e-6
    )


def test_a_radar_that_saw_nothing_has_no_points(tmp_path):
    write_radar(tmp_path / "r.pcd", np.zeros((0, 3)))
    assert read_radar(tmp_path / "r.pcd").shape == (0, 5)


def test_lidar_files_are_read_as_the_devkit_reads_them(root):
    from nuscenes.utils.data_classes import LidarPointCloud

    path = next((root / "samples/LIDAR_TOP").iterdir())
    expected = LidarPointCloud.from_file(str(path)).points.T
    found = read_lidar(path)[:, :4] * [1, 1, 1, 255]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-30], "expected 2 points of 43 bytes"),
        (lambda data: data.replace(b"DATA binary", b"DATA ascii"), "binary data"),
        (lambda data: data.replace(b"rcs", b"abc"), r"no fields \['rcs'\]"),
        (lambda data: data.replace(b"SIZE 4 4", b"SIZE 4 x"), "broken PCD header"),
        (lambda data: data.replace(b"HEIGHT 1", b"HEIGHT -1"), r"x -1 points"),
    ],
    ids=["cut off", "ascii", "other fields", "header", "count"],
)
def test_damaged_radar_files_are_named(tmp_path, damage, message):
    path = tmp_path / "r.pcd"
    write_radar(path, np.ones((2, 3)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=f"r.pcd: .*{message}"):
        read_radar(path)


def test_wrong_version_says_which_there_are(root):
    with pytest.raises(DataError, match=r"v1.0-trainval.*has v1\.0-mini"):
        NuScenesFrames(root, version="v1.0-trainval")


def test_unknown_split_says_which_there_are(root):
    # mini_val's scenes are not in this data set, val is no split of the mini set.
    with pytest.raises(DataError, match="no split 'val'; there are mini_train, all"):
        NuScenesFrames(root, "val")


def test_splits_of_ones_own(tmp_path):
    root = make_nuscenes(tmp_path / "data")
    (root / VERSION / "splits.json").write_text(json.dumps({"mine": [SCENE]}))
    assert len(NuScenesFrames(root, "mine")) == 2


def test_missing_table_is_named(tmp_path):
    root = make_nuscenes(tmp_path / "data")
    (root / VERSION / "ego_pose.json").unlink()
    with pytest.raises(DataError, match="tables missing: ego_pose"):
        NuScenesFrames(root)


def test_broken_table_is_named(tmp_path):
    root = make_nuscenes(tmp_path / "data")
    path = root / VERSION / "ego_pose.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DataError, match=r"ego_pose\.json: .* a table: not JSON"):
        NuScenesFrames(root)


def test_dangling_reference_is_named(tmp_path):
    root = make_nuscenes(tmp_path / "data")
    path = root / VERSION / "ego_pose.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([r for r in rows if r["token"] != "pose-CAM_FRONT-0"]))
    with pytest.raises(DataError, match=r"pose-CAM_FRONT-0.*nowhere defined"):
        NuScenesFrames(root)


def test_frames_without_their_files_are_left_out(tmp_path, caplog):
    root = make_nuscenes(tmp_path / "data")
    next((root / "samples/RADAR_FRONT").glob("*__20000.pcd")).unlink()
    with caplog.at_level(logging.WARNING):
        frames = NuScenesFrames(root)
    assert frames.frame_ids == [f"{SCENE}-001-CAM_FRONT"]
    assert "000-CAM_FRONT lacks RADAR_FRONT" in caplog.text
    optional = NuScenesFrames(root, optional_sensors=("radar",))
    assert "radar" not in optional[0].sensors
    assert "radar" in optional[1].sensors


def test_no_radar_at_all_is_an_error_that_names_it(tmp_path):
    root = make_nuscenes(tmp_path / "data", radars=False)
    with pytest.raises(DataError, match=r"no frame .* lacks RADAR_FRONT_RIGHT"):
        NuScenesFrames(root)
    assert len(NuScenesFrames(root, sensors=("camera", "lidar"))) == 2


def test_sources_are_checked():
    with pytest.raises(ValueError, match="modality must be"):
        NuScenesSource("sonar")
    with pytest.raises(ValueError, match="columns must begin with x, y, z"):
        NuScenesSource("radar", ("RADAR_FRONT",), ("x", "y", "z", "reflectance"))
    with pytest.raises(ValueError, match="sensors"):
        NuScenesFrames(".", sensors=("sonar",), sources=NUSCENES_SOURCES)


def test_misspelt_channels_are_told_at_once(root):
    """Not by a KeyError at the first frame."""
    with pytest.raises(DataError, match="'CAM_FRNT' for cameras; did you mean CAM_F"):
        NuScenesFrames(root, "mini_train", cameras=("CAM_FRONT", "CAM_FRNT"))
    twice = ("CAM_FRONT", "CAM_FRONT")
    with pytest.raises(DataError, match="cameras: expected channels, each once"):
        NuScenesFrames(root, "mini_train", cameras=twice)
    radar = NuScenesSource("radar", ("RADAR_FRONTS",), ("x", "y", "z"))
    with pytest.raises(DataError, match="'RADAR_FRONTS' for sensor 'radar'; did you"):
        NuScenesFrames(root, "mini_train", sources={"radar": radar})
    assert NuScenesFrames(root, "mini_train", cameras="CAM_FRONT").cameras == twice[:1]
