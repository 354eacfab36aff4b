"""ROS bags as folders in KITTI's layout: equal frames, and what recordings do."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from bag_makers import START_NS, STEP_NS, TOPICS, pose_at, tiny_drive
from tiny_kitti import CALIBRATION, SIZE, make_frame
from tool_runner import status_of

from perception.cli import create_data
from perception.core.files import write_json
from perception.core.geometry import inverse_transform, transform_points
from perception.core.structures import DataError
from perception.datasets.bags import compose
from perception.datasets.bags.convert import convert_bag
from perception.datasets.bags.live import LiveFrames
from perception.datasets.bags.messages import (
    Camera,
    FrameTree,
    fields_of,
    image_of,
    rigid,
)
from perception.datasets.bags.plan import Stamps, plan_frames
from perception.datasets.bags.storage import NS, Bag, BagWriter
from perception.datasets.bags.topics import read_topics
from perception.datasets.kitti.reader import KittiFrames, SensorSource
from perception.datasets.synthetic import bag as synthetic

pytest.importorskip("rosbags", reason="the extra `bags` is not installed")
FIELDS = ("x", "y", "z", "intensity")


def read(root, **more):
    return KittiFrames(root, sensors=("camera", "lidar"), **more)


def assert_equal_frame(frame, index):
    made = make_frame(index)
    for name in ("camera", "lidar"):
        np.testing.assert_array_equal(frame.sensors[name], made.sensors[name])
        assert frame.sensors[name].dtype == made.sensors[name].dtype


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "compressed"])
@pytest.mark.parametrize("storage", ["mcap", "sqlite3", "ros1"])
def test_frames_read_back_are_those_recorded(tmp_path, storage, compressed):
    path = tmp_path / ("tiny.bag" if storage == "ros1" else "tiny")
    tiny_drive(compressed=compressed).write(path, storage)
    report = convert_bag(path, TOPICS, tmp_path / "out", progress=False)
    assert (report.frames, report.complete, report.sequences) == (4, 4, 1)
    assert report.notes == ()
    frames = read(tmp_path / "out", split="complete")
    for index, frame in enumerate(frames):
        assert_equal_frame(frame, index)
        found = frame.calibration
        np.testing.assert_array_equal(found.image_P_cam, CALIBRATION.image_P_cam)
        np.testing.assert_array_equal(found.right_P_cam, CALIBRATION.right_P_cam)
        expected = CALIBRATION.cam_T_sensor["lidar"]
        np.testing.assert_allclose(found.cam_T_sensor["lidar"], expected, atol=1e-12)
    # Nothing but the bag is left beside it.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", path.name]
    # The pair gives depth.
    assert KittiFrames(tmp_path / "out")[0].sensors["depth"].shape == SIZE


def test_ego_motion_is_the_vehicle_s(tmp_path):
    convert_bag(
        tiny_drive().write(tmp_path / "b"), TOPICS, tmp_path / "o", progress=False
    )
    frames = read(tmp_path / "o")
    assert frames.previous(0) is None
    before = frames.previous(2)
    assert (before.number, before.seconds) == (1, pytest.approx(0.1))
    cam_T_base = CALIBRATION.cam_T_sensor["lidar"]
    world_T_cam = [pose_at(n) @ inverse_transform(cam_T_base) for n in (1, 2)]
    expected = inverse_transform(world_T_cam[1]) @ world_T_cam[0]
    np.testing.assert_allclose(before.now_T_before, expected, atol=1e-9)
    # What stood 5 m ahead is one metre nearer, and a degree further right.
    ahead = transform_points(before.now_T_before, np.array([0.0, 0.0, 5.0]))
    assert np.linalg.norm(ahead) < 5
    assert ahead[0] > 0
    # A split with every second frame: the gap is twice as long.
    sparse = read(tmp_path / "o", split=["000001", "000003"])
    assert sparse.previous(1).seconds == pytest.approx(0.2)


def test_a_synthetic_drive_reads_back_as_generated(tmp_path, monkeypatch):
    recipe = synthetic.Recipe(0, 96, 32, 1, 2, "mcap")
    made = list(synthetic.moments(recipe, 0))
    monkeypatch.setattr(synthetic, "moments", lambda *_: iter(made))
    synthetic.write_drive(tmp_path, recipe, "drive-0000")
    write_json(tmp_path / "topics.json", synthetic.TOPICS)
    words = ("--topics", tmp_path / "topics.json", "--out", tmp_path / "out")
    words = ("bag", "--bag", tmp_path / "drive-0000", *words)
    assert status_of(create_data.main, *words) == 0
    frames = KittiFrames(tmp_path / "out")
    assert len(frames) == len(made) == 2
    for frame, moment in zip(frames, made, strict=True):
        expected = moment.frame
        np.testing.assert_array_equal(frame.sensors["camera"], expected.left_rgb)
        np.testing.assert_array_equal(frame.sensors["lidar"], expected.points)
        np.testing.assert_array_equal(frame.sensors["depth"], expected.depth_m)
        found, right = frame.calibration, expected.calibration
        np.testing.assert_allclose(found.image_P_cam, right.image_P_cam, rtol=1e-12)
        np.testing.assert_allclose(
            found.cam_T_sensor["lidar"], right.cam_T_sensor["lidar"], atol=1e-9
        )
    poses = [moment.world_T_base @ synthetic.BASE_T_CAM for moment in made]
    expected = inverse_transform(poses[1]) @ poses[0]
    np.testing.assert_allclose(frames.previous(1).now_T_before, expected, atol=1e-9)


# --- what recordings do ---------------------------------------------------------------


def converted(drive, tmp_path, topics=TOPICS, **more):
    path = drive.write(tmp_path / "bag")
    report = convert_bag(path, topics, tmp_path / "out", progress=False)
    return report, read(tmp_path / "out", **more)


def test_messages_out_of_order_make_the_same_frames(tmp_path):
    drive = tiny_drive()
    # Each is recorded up to 0.4 s late, in an order of its own.
    rng = np.random.default_rng(0)
    drive.messages = [
        (topic, make, t, t + int(rng.integers(0, 4 * STEP_NS)))
        for topic, make, t, _ in drive.messages
    ]
    rng.shuffle(drive.messages)
    report, frames = converted(drive, tmp_path)
    assert (report.frames, report.complete, report.sequences) == (4, 4, 1)
    for index, frame in enumerate(frames):
        assert_equal_frame(frame, index)


def test_dropped_and_duplicated_messages_are_told(tmp_path):
    drive = tiny_drive()
    lidar, left = drive.of("/lidar"), drive.of("/left/image_rect")
    drive.messages.append(drive.messages[left[2]])
    drive.messages.append(drive.messages[lidar[0]])
    del drive.messages[lidar[1]]
    report, frames = converted(drive, tmp_path, optional_sensors=("lidar",))
    assert (report.frames, report.complete) == (4, 3)
    assert report.notes == (
        "/lidar: no message within 0.05 s in 1 of 4 frames: 000001",
        "/left/image_rect: 1 pictures came twice",
    )
    assert "lidar" not in frames[1].sensors
    assert [len(frames[n].sensors) for n in (0, 2, 3)] == [2, 2, 2]
    for index in (0, 2, 3):
        assert_equal_frame(frames[index], index)
    complete = KittiFrames(tmp_path / "out", "complete", sensors=("lidar",))
    assert complete.frame_ids == ["000000", "000002", "000003"]


def test_a_clock_that_is_set_back_begins_another_drive(tmp_path):
    """The same times come twice, of other scenes: nothing is mixed."""
    drive = tiny_drive(3)
    for topic, make, t, _ in tiny_drive(6).messages[1:]:
        number = (t - START_NS) // STEP_NS
        if number >= 3:  # recorded later, with the clock of the first three
            drive.add(topic, make, t - 3 * STEP_NS, t + 5 * NS)
    report, frames = converted(drive, tmp_path)
    assert (report.frames, report.complete, report.sequences) == (6, 6, 2)
    for index, frame in enumerate(frames):
        assert_equal_frame(frame, index)
    assert frames.previous(3) is None
    assert frames.previous(4).number == 3


def test_one_sensor_s_clock_elsewhere_is_an_error_that_tells_the_way_out(tmp_path):
    drive = tiny_drive()
    drive.messages = [
        (topic, make, t - 37 * NS if topic == "/lidar" else t, t)
        for topic, make, t, _ in drive.messages
    ]
    path = drive.write(tmp_path / "bag")
    with pytest.raises(DataError, match=r"'/lidar' is within 0\.05 s .*-37\.000 s"):
        convert_bag(path, TOPICS, tmp_path / "out", progress=False)
    topics = replace(TOPICS, clock="recorded")
    assert convert_bag(path, topics, tmp_path / "o2", progress=False).complete == 4


def test_the_nearest_message_within_the_tolerance_counts():
    times = np.array([0, 100, 200]) * 1_000_000
    camera = Stamps(times, times)
    lidar = np.array([40, 90, 251]) * 1_000_000
    plan = plan_frames(camera, {"lidar": Stamps(lidar, lidar)}, 0.05)
    assert plan.others["lidar"].tolist() == [0, 1, -1]
    plan = plan_frames(camera, {"lidar": Stamps(lidar, lidar)}, 0.051)
    assert plan.others["lidar"].tolist() == [0, 1, 2]


def test_a_gap_begins_another_drive():
    times = np.array([0, 100, 1200, 1300]) * 1_000_000
    plan = plan_frames(Stamps(times, times), {}, 0.05)
    assert plan.sequence.tolist() == [0, 0, 1, 1]


def test_unset_times_are_those_of_the_recording(tmp_path):
    drive = tiny_drive()
    drive.messages = [(n, m, 0, r) for n, m, _, r in drive.messages]
    report, frames = converted(drive, tmp_path)
    assert report.complete == 4
    assert_equal_frame(frames[3], 3)


def test_several_lidars_are_merged_where_static_transforms_have_them(tmp_path):
    drive, points = tiny_drive(1), make_frame(0).sensors["lidar"]
    velo_T_front = rigid((1.0, 0.5, -0.2), (0.0, 0.0, 0.6, 0.8))
    del drive.messages[drive.of("/lidar")[0]]
    front = points[300:].copy()
    front[:, :3] = transform_points(inverse_transform(velo_T_front), front[:, :3])
    for topic, frame, cloud in (
        ("/top", "velo", points[:300]),
        ("/front", "front", front),
    ):
        drive.add(
            topic,
            lambda b, t, f=frame, c=cloud: compose.cloud(b, t, f, c, FIELDS),
            START_NS,
        )
    placed = [("velo", "front", velo_T_front)]
    drive.add(
        "/tf_static", lambda b, t: compose.static_transforms(b, t, placed), START_NS
    )
    topics = replace(TOPICS, lidar=("/top", "/front"))
    _, frames = converted(drive, tmp_path, topics)
    np.testing.assert_allclose(frames[0].sensors["lidar"], points, atol=1e-5)


def test_points_are_carried_to_the_picture_s_time(tmp_path):
    """A scan of 0.04 s before: a standing post is nearer by then."""
    drive = tiny_drive(4)
    post = np.array([[10.0, 0.0, 0.0, 0.5]], np.float32)
    for number in drive.of("/lidar"):
        topic, _, t, _ = drive.messages[number]
        drive.messages[number] = (
            topic,
            lambda b, t: compose.cloud(b, t, "velo", post, FIELDS),
            t - 40_000_000,
            t,
        )
    for index, number in enumerate(drive.of("/odometry")):
        topic, _, t, recorded = drive.messages[number]
        pose = np.eye(4)
        pose[0, 3] = index  # 10 m/s ahead
        drive.messages[number] = (
            topic,
            lambda b, t, p=pose: compose.odometry(b, t, "odom", "base", p),
            t,
            recorded,
        )
    report, frames = converted(drive, tmp_path)
    assert report.complete == 4
    found = frames[2].sensors["lidar"]
    np.testing.assert_allclose(found, [[9.6, 0, 0, 0.5]], atol=1e-5)
    # Before the first pose nothing is known: points stay.
    np.testing.assert_array_equal(frames[0].sensors["lidar"], post)


def test_radar_becomes_points_in_the_lidar_s_frame(tmp_path):
    drive = tiny_drive(1)
    velo_T_radar = rigid((3.0, 0.0, -1.0), (0.0, 0.0, 0.0, 1.0))
    returns = np.array([[20.0, 1.0, 0.0, -3.5, 12.0]], np.float32)
    names = ("x", "y", "z", "doppler", "rcs")
    drive.add(
        "/radar", lambda b, t: compose.cloud(b, t, "radar", returns, names), START_NS
    )
    placed = [("velo", "radar", velo_T_radar)]
    drive.add(
        "/tf_static", lambda b, t: compose.static_transforms(b, t, placed), START_NS
    )
    topics = replace(TOPICS, radar=("/radar",), radar_fields=("doppler", "rcs"))
    path = drive.write(tmp_path / "bag")
    convert_bag(path, topics, tmp_path / "out", progress=False)
    sources = {
        "camera": SensorSource("image", "image_2"),
        "radar": SensorSource("points", "radar", columns=5),
    }
    frame = KittiFrames(tmp_path / "out", sources=sources)[0]
    np.testing.assert_allclose(frame.sensors["radar"], [[23.0, 1, -1, -3.5, 12]])
    with pytest.raises(DataError, match=r"no field 'speed', only x, y, z, doppler"):
        topics = replace(topics, radar_fields=("speed",))
        convert_bag(path, topics, tmp_path / "o2", progress=False)


# --- messages -------------------------------------------------------------------------


def point_cloud(table, *, big=False, height=1, pad=0):
    """A cloud of a structured array, rows padded by ``pad`` bytes."""
    kinds = ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8")
    fields = [
        SimpleNamespace(
            name=name,
            offset=table.dtype.fields[name][1],
            datatype=1 + kinds.index(table.dtype[name].str[1:]),
            count=1,
        )
        for name in table.dtype.names
    ]
    rows = table.reshape(height, -1).view(np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, pad)), constant_values=255)
    return SimpleNamespace(
        fields=fields,
        is_bigendian=big,
        point_step=table.dtype.itemsize,
        height=height,
        width=len(table) // height,
        row_step=rows.shape[1],
        data=rows.reshape(-1),
    )


@pytest.mark.parametrize("order", ["<", ">"])
def test_fields_in_any_order_of_any_type_with_gaps(order):
    kind = np.dtype(
        {
            "names": ["intensity", "z", "ring", "x", "y"],
            "formats": [f"{order}u2", f"{order}f8", "u1", f"{order}f4", f"{order}i2"],
            "offsets": [0, 4, 13, 16, 22],
            "itemsize": 32,
        }
    )
    table = np.zeros(6, kind)
    table["x"], table["y"], table["z"] = np.arange(6) / 4, np.arange(6), -np.arange(6)
    table["intensity"] = 100 * np.arange(6)
    table["x"][4] = np.nan  # no return
    message = point_cloud(table, big=order == ">", height=2, pad=7)
    found = fields_of(message, FIELDS, "here")
    expected = np.array([[n / 4, n, -n, 100 * n] for n in (0, 1, 2, 3, 5)])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 10**9}, "expected 1 rows"),
        ({"point_step": 4}, "points of 4 bytes, which hold 16"),
        ({"height": 2**31, "row_step": 0}, "rows of 0 bytes"),
        ({"data": np.zeros(3, np.uint8)}, "3 bytes, expected"),
    ],
)
def test_sizes_of_a_cloud_that_contradict_each_other(changes, said):
    table = np.zeros(2, [(name, "f4") for name in FIELDS])
    with pytest.raises(DataError, match=said):
        fields_of(SimpleNamespace(**vars(point_cloud(table)) | changes), FIELDS, "x")


def test_a_cloud_without_points_has_none():
    table = np.zeros(0, [(name, "f4") for name in FIELDS])
    assert fields_of(point_cloud(table), FIELDS, "here").shape == (0, 4)


def picture(encoding, data, height=2, width=2, step=None):
    data = np.asarray(data, np.uint8).reshape(-1)
    step = step or data.size // height
    return SimpleNamespace(
        encoding=encoding, data=data, height=height, width=width, step=step
    )


def test_encodings_of_pictures():
    rgb = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(image_of(picture("rgb8", rgb), "x"), rgb)
    bgr = rgb[..., ::-1]
    np.testing.assert_array_equal(image_of(picture("bgr8", bgr), "x"), rgb)
    bgra = np.concatenate([bgr, np.zeros((2, 2, 1), np.uint8)], 2)
    np.testing.assert_array_equal(image_of(picture("bgra8", bgra), "x"), rgb)
    grey = image_of(picture("mono8", [[1, 2], [3, 4]]), "x")
    np.testing.assert_array_equal(grey[..., 2], [[1, 2], [3, 4]])
    padded = np.pad(rgb.reshape(2, 6), ((0, 0), (0, 5)))
    np.testing.assert_array_equal(image_of(picture("rgb8", padded), "x"), rgb)
    # Red, green / green, blue: a red sensor's surroundings are red.
    mosaic = np.zeros((8, 8), np.uint8)
    mosaic[0::2, 0::2] = 200
    red = image_of(picture("bayer_rggb8", mosaic, 8, 8), "x")[2:6, 2:6].mean((0, 1))
    np.testing.assert_allclose(red, [200, 0, 0])
    with pytest.raises(DataError, match="'mono16' are not read, only rgb8"):
        image_of(picture("mono16", np.zeros(8)), "x")
    with pytest.raises(DataError, match="12 bytes, expected 9 rows"):
        image_of(picture("rgb8", rgb, height=9, step=6), "x")
    with pytest.raises(DataError, match="pixels, expected 1 to"):
        image_of(picture("rgb8", rgb, height=2**31, width=2**31), "x")


def test_a_distorted_picture_is_rectified():
    """A straight line, bent by the lens, is straight again."""
    info = {
        "header": SimpleNamespace(frame_id="/cam"),
        "height": 64,
        "width": 96,
        "distortion_model": "plumb_bob",
        "D": np.array([-0.45, 0.1, 0, 0, 0]),
        "K": np.array([60.0, 0, 48, 0, 60, 32, 0, 0, 1]),
        "R": np.eye(3).reshape(-1),
        "P": np.array([60.0, 0, 48, 0, 0, 60, 32, 0, 0, 0, 1, 0]),
    }
    camera = Camera.of(SimpleNamespace(**info), "here")
    assert camera.is_distorted
    assert camera.frame == "cam"
    straight = np.stack([np.linspace(10, 85, 40), np.full(40, 12.0)], 1)
    rays = np.column_stack([(straight - [48, 32]) / 60, np.ones(40)])
    matrix, bent = info["K"].reshape(3, 3), np.zeros((64, 96, 3), np.uint8)
    places, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), matrix, info["D"])
    for a, b in zip(places[:-1, 0], places[1:, 0], strict=True):
        cv2.line(bent, np.intp(a.round()), np.intp(b.round()), (255, 255, 255), 1)
    rows = np.argmax(camera.rectified(bent)[:, 18:78, 0], axis=0)
    assert np.ptp(np.argmax(bent[:, 18:78, 0], axis=0)) >= 2
    assert np.abs(rows - 12).max() <= 1


def test_frames_are_found_through_others():
    tree = FrameTree()
    tree.add("base", "a", rigid((1, 0, 0), (0, 0, 0, 1)))
    tree.add("base", "b", rigid((0, 2, 0), (0, 0, 0, 1)))
    np.testing.assert_allclose(tree.transform("a", "b")[:3, 3], [-1, 2, 0])
    with pytest.raises(DataError, match="frame 'c' to 'a'; frames known: a, b, base"):
        tree.transform("a", "c")


# --- errors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"camera": "/left/image_rekt"},
            r"no topic '/left/image_rekt' \(camera\); did you mean /left/image_rect\?; "
            r"the bag holds /left/camera_info \(sensor_msgs/msg/CameraInfo, 4\), ",
        ),
        ({"lidar": ("/odometry",)}, r"of nav_msgs/msg/Odometry, expected sensor_msgs"),
        ({"intensity": "grey"}, "no field 'grey', only x, y, z, intensity"),
        ({"intensity_max": 0.4}, "goes from 0.5 to 0.5, expected 0 to 0.4"),
        ({"right_info": "/left/camera_info"}, "no rectified pair"),
    ],
)
def test_wrong_topics_end_in_one_error(tmp_path, changes, said):
    path = tiny_drive(4).write(tmp_path / "bag")
    with pytest.raises(DataError, match=said):
        convert_bag(path, replace(TOPICS, **changes), tmp_path / "out", progress=False)


def test_a_transform_may_be_given(tmp_path):
    drive = tiny_drive(1)
    del drive.messages[0]
    path = drive.write(tmp_path / "bag")
    with pytest.raises(DataError, match="no static transform leads from frame 'velo'"):
        convert_bag(path, TOPICS, tmp_path / "out", progress=False)
    file = tmp_path / "topics.json"
    content = {
        "camera": "/left/image_rect",
        "camera_info": "/left/camera_info",
        "lidar": ["/lidar"],
        "transforms": [
            {"parent": "cam", "child": "velo", "translation_m": [0, 0.5, -1]}
        ],
    }
    file.write_text(json.dumps(content))
    convert_bag(path, read_topics(file), tmp_path / "o2", progress=False)
    found = read(tmp_path / "o2")[0].calibration.cam_T_sensor["lidar"]
    np.testing.assert_allclose(found[:3, 3], [0, 0.5, -1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lidr": []}, "unknown entry 'lidr'; did you mean lidar?"),
        ({"right": "/r"}, "right and right_info go together"),
        ({"lidar": ["/c"]}, "topic '/c' is named twice"),
        ({"tolerance_s": "x"}, "damaged names of topics: tolerance_s"),
        ({"tolerance_s": -1}, "tolerance_s"),
    ],
)
def test_a_wrong_file_of_topics(tmp_path, changes, said):
    file = tmp_path / "topics.json"
    file.write_text(json.dumps({"camera": "/c", "camera_info": "/i"} | changes))
    with pytest.raises(DataError, match=said.replace("?", r"\?")):
        read_topics(file)


def data_file(path: Path) -> Path:
    if path.is_file():
        return path
    return next(f for f in path.iterdir() if f.suffix in (".mcap", ".db3"))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3", "ros1"])
def test_truncated_and_damaged_bags_end_in_one_error(tmp_path, storage):
    path = tmp_path / ("tiny.bag" if storage == "ros1" else "tiny")
    tiny_drive(2).write(path, storage)
    file = data_file(path)
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    failed = 0
    for trial in range(24):
        data = bytearray(whole)
        if trial < 8:
            data = data[: len(data) * trial // 8]
        else:
            for place in rng.integers(0, len(data), 40):
                data[place] = rng.integers(256)
        file.write_bytes(bytes(data))
        try:
            convert_bag(path, TOPICS, tmp_path / f"out{trial}", progress=False)
        except DataError as error:
            failed += 1
            assert str(path) in str(error) or "out" in str(error)
    assert failed >= 8


def test_no_bag_at_all(tmp_path):
    with pytest.raises(DataError, match="no such bag"):
        Bag(tmp_path / "none.mcap")
    (tmp_path / "text.txt").write_text("hello")
    with pytest.raises(DataError, match="not a whole ROS bag"):
        Bag(tmp_path / "text.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="not a whole ROS bag"):
        Bag(tmp_path / "folder")


def test_a_bag_s_own_definitions_are_not_run(tmp_path):
    """Messages are taken apart by ours, whatever the bag says they are."""
    path = tiny_drive(1).write(tmp_path / "bag")
    file = data_file(path)
    data = file.read_bytes()
    assert b"float64[9] k" in data
    file.write_bytes(data.replace(b"float64[9] k", b"float64[7] k"))
    with Bag(path) as bag:
        raw = next(iter(bag.messages(["/left/camera_info"])))
        assert len(bag.decode(raw).k) == 9


def test_a_writer_that_fails_leaves_what_was_there(tmp_path):
    path = tiny_drive(1).write(tmp_path / "bag")
    before = data_file(path).read_bytes()
    with pytest.raises(RuntimeError), BagWriter(path):
        raise RuntimeError
    assert data_file(path).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["bag"]


def test_the_tool_says_what_a_bag_holds(tmp_path, capsys):
    path = tiny_drive(3).write(tmp_path / "bag")
    assert status_of(create_data.main, "bag", "--bag", path) == 0
    said = capsys.readouterr().out
    assert "       3  sensor_msgs/msg/PointCloud2         /lidar\n" in said
    drafted = json.loads(said[said.index("{") :])
    assert drafted["lidar"] == ["/lidar"]
    assert drafted["right_info"] == "/right/camera_info"
    file = tmp_path / "topics.json"
    file.write_text(json.dumps(drafted))
    words = ("bag", "--bag", path, "--topics", file, "--out", tmp_path / "out")
    assert status_of(create_data.main, *words, "--depth", "--jobs", 1) == 0
    said = capsys.readouterr().out
    assert "3 frames of 1 drive(s), 3 with every sensor" in said
    assert len(list((tmp_path / "out/training/depth_2").iterdir())) == 3
    file.write_text(json.dumps(drafted | {"tolerance_s": 0.01}))
    assert status_of(create_data.main, *words) == 2
    assert "asked for" in capsys.readouterr().err


def test_messages_one_by_one_make_the_same_frames(tmp_path):
    path = tiny_drive(3).write(tmp_path / "bag")
    convert_bag(path, TOPICS, tmp_path / "out", progress=False)
    live, found = LiveFrames(TOPICS), []
    with Bag(path) as bag:
        for raw in bag.messages(bag.topics):
            found.append(live.take(raw.topic, bag.decode(raw)))
    found = [frame for frame in found if frame is not None]
    read = KittiFrames(tmp_path / "out")
    assert len(found) == len(read) == 3
    for one, other in zip(found, read, strict=True):
        assert one.sensors.keys() == other.sensors.keys()
        for name, values in other.sensors.items():
            np.testing.assert_array_equal(one.sensors[name], values)
        place = other.calibration.cam_T_sensor["lidar"]
        np.testing.assert_allclose(one.calibration.cam_T_sensor["lidar"], place)
    assert found[1].frame_id == str(START_NS + STEP_NS)
