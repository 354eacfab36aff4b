"""Rig, crowd, own motion, annotations and radar of the synthetic nuScenes set."""

import numpy as np
import pytest
from synthetic_makers import daylight, plain_atlas, road, wall

from perception.core.geometry import inverse_transform
from perception.datasets.synthetic.assets.meshes import box, merge
from perception.datasets.synthetic.assets.surfaces import Surface
from perception.datasets.synthetic.nuscenes import radar as nuscenes_radar
from perception.datasets.synthetic.nuscenes.radar import radar_pcd
from perception.datasets.synthetic.nuscenes.rig import CAMERAS, SENSORS
from perception.datasets.synthetic.nuscenes.sensing import Station, to_world
from perception.datasets.synthetic.nuscenes.tables import (
    attribute_of,
    category_of,
    link,
    visibility_token,
)
from perception.datasets.synthetic.nuscenes.traffic import (
    EgoPath,
    Sequence,
    random_sequence,
)
from perception.datasets.synthetic.world.actors import Crowd, Mover, place
from perception.datasets.synthetic.world.street import Layout

PAINT = Surface((0.5, 0.1, 0.1), reflectance=0.5)
LAYOUT = Layout(3.2, (0.0, 0.0), (False, False), 2.0, (0.0, 0.0), None, None)
STANDING = EgoPath(speed_mps=0.0, start_m=0.0, sway_m=0.0, rate=0.5, phase=0.0)
FRONT = CAMERAS[0]
RADAR = next(sensor for sensor in SENSORS if sensor.channel == "RADAR_FRONT")
LIDAR = next(sensor for sensor in SENSORS if sensor.modality == "lidar")


def mover(x, y, velocity=(0.0, 0.0), name="Car", size=(4.0, 1.8, 1.5), yaw=0.0):
    block = box(size, (0, 0, size[2] / 2), PAINT)
    return Mover(place(name, block, x, y, 0.0, yaw), velocity)


def station(*movers, background=(), ego=STANDING, time_s=0.0):
    still = merge([road(), *background])
    lamps = np.zeros((0, 3), np.float32)
    sequence = Sequence(LAYOUT, still, movers, daylight(), lamps, ego)
    return Station(sequence, time_s)


@pytest.fixture(autouse=True)
def no_posters(monkeypatch):
    """Posters take a second to draw, and none of these scenes has one."""
    name = "perception.datasets.synthetic.nuscenes.sensing.poster_atlas"
    monkeypatch.setattr(name, plain_atlas)


def rng():
    return np.random.default_rng(7)


def test_quaternions_are_the_mounting_matrices():
    quaternion = pytest.importorskip("pyquaternion").Quaternion
    for sensor in SENSORS:
        matrix = quaternion(sensor.rotation).rotation_matrix
        assert matrix == pytest.approx(sensor.mounting[:3, :3])
    # The front camera looks along the car's x, its x points to the right.
    assert FRONT.mounting[:3, 2] == pytest.approx([1, 0, 0])
    assert FRONT.mounting[:3, 0] == pytest.approx([0, -1, 0])


def test_own_velocity_is_the_derivative_of_the_place():
    ego = EgoPath(speed_mps=5.0, start_m=-3.0, sway_m=0.2, rate=0.8, phase=0.3)
    before, after = (np.array(ego.place(time)) for time in (1.999, 2.001))
    assert ego.velocity_mps(2.0) == pytest.approx((after - before)[:2] / 0.002)
    assert ego.yaw_rate(2.0) == pytest.approx((after - before)[2] / 0.002, abs=1e-6)
    assert ego.pose(0.6)[:2, 3] == pytest.approx(ego.place(0.6)[:2])


def test_a_crowd_refuses_what_would_collide_later():
    times_s = np.arange(0, 4.1, 0.2)
    crowd = Crowd(LAYOUT, night=False, times_s=times_s)
    block = box((4.0, 1.8, 1.5), (0, 0, 0.75), PAINT)
    assert crowd.add("Car", block, (0, 0, 0), 0.0, 5.0)
    # It will have come to x = 20 when the time is up.
    assert not crowd.block(12, 0, 0.5)
    assert not crowd.add("Car", block, (25, 0, 0), np.pi, 5.0)
    assert crowd.block(40, 0, 0.5)
    assert crowd.add("Car", block, (10, 0, 0), 0.0, 5.0)
    assert [m.velocity_mps[0] for m in crowd.movers] == pytest.approx([5.0, 5.0])


@pytest.mark.parametrize("seed", range(3))
def test_nobody_drives_through_the_own_car(seed):
    sequence = random_sequence(np.random.default_rng(seed), 3.0)
    assert len(sequence.movers) > 3
    for time_s in np.arange(0, 3.01, 0.25).tolist():
        ego = sequence.ego.pose(time_s)
        for other in sequence.movers:
            offset = np.array([*other.velocity_mps, 0.0]) * time_s
            local = inverse_transform(ego)[:3] @ [*(other.actor.base_m + offset), 1.0]
            assert not (-0.9 < local[0] < 3.9 and abs(local[1]) < 0.9)


def test_lidar_and_camera_agree_while_the_own_car_moves():
    ego = EgoPath(speed_mps=10.0, start_m=0.0, sway_m=0.2, rate=0.8, phase=0.0)
    here = station(mover(18.0, 1.0), background=(wall(40, 0, 60),), ego=ego, time_s=0.5)
    photo = here.photograph(rng(), FRONT, 160, 90)
    points = here.lidar(rng(), LIDAR)
    assert points.shape[1] == 5
    assert set(np.unique(points[:, 4])) <= set(range(32))
    world = to_world(here.world_pose(LIDAR), points)
    # The car's rear is at x = 16; a box a little smaller keeps clear of its edges.
    on_car = world[(np.abs(world[:, 0] - 16) < 0.2) & (world[:, 2] > 0.2)]
    on_car = on_car[(np.abs(on_car[:, 1] - 1) < 0.7) & (on_car[:, 2] < 1.3)]
    assert len(on_car) > 20
    cam = (
        np.c_[on_car, np.ones(len(on_car))]
        @ inverse_transform(here.world_pose(FRONT)).T
    )
    pixels = cam[:, :3] @ FRONT.intrinsic(160, 90).T
    u, v = np.round(pixels[:, :2] / pixels[:, 2:]).astype(int).T
    assert (photo.owner[v, u] == 0).all()


def test_annotations_tell_what_is_visible():
    seen, hidden = mover(12.0, 3.0), mover(25.0, -4.0)
    far = mover(200.0, 0.0)
    screen = box((0.2, 4.0, 4.0), (20, -4, 2.0), PAINT)
    here = station(seen, hidden, far, background=(screen,))
    photos = [here.photograph(rng(), camera, 160, 90) for camera in CAMERAS]
    points = np.array([[12.0, 3.0, 0.5], [13.9, 3.0, 0.5], [14.1, 3.0, 0.5]])
    only = here.annotate(photos, points, points[:1])
    assert [made.mover for made in only] == [0]
    assert only[0].visible > 0.9
    assert (only[0].lidar_points, only[0].radar_points) == (2, 1)
    assert only[0].base_m == pytest.approx([12, 3, 0])
    # A point on the hidden car is reason enough to annotate it.
    both = here.annotate(photos, np.array([[25.0, -4.0, 1.0]]), np.empty((0, 3)))
    assert [(made.mover, made.visible) for made in both][1:] == [(1, 0.0)]


@pytest.mark.parametrize(
    ("visible", "level"), [(0.0, "1"), (0.4, "1"), (0.5, "2"), (0.8, "3"), (1.0, "4")]
)
def test_visibility_levels(visible, level):
    assert visibility_token(visible) == level


def test_categories_and_attributes():
    small = mover(0, 0, name="Pedestrian", size=(0.5, 0.5, 1.2))
    grown = mover(0, 0, (1.0, 0.0), "Pedestrian", size=(0.5, 0.5, 1.8))
    bicycle = mover(0, 0, (3.0, 0.0), "Cyclist")
    assert category_of(small) == "human.pedestrian.child"
    assert category_of(grown) == "human.pedestrian.adult"
    assert category_of(bicycle) == "vehicle.bicycle"
    assert category_of(mover(0, 0, name="Van")) == "vehicle.car"
    assert attribute_of(small) == "pedestrian.standing"
    assert attribute_of(grown) == "pedestrian.moving"
    assert attribute_of(bicycle) == "cycle.with_rider"
    assert attribute_of(mover(0, 0)) == "vehicle.stopped"
    assert attribute_of(mover(0, 0, (0.0, -4.0))) == "vehicle.moving"
    assert attribute_of(Mover(mover(0, 0).actor, (0.0, 0.0), True)) == "vehicle.parked"


def test_link_fills_both_directions():
    records = [{"token": name} for name in "abc"]
    link(records)
    assert [(r["prev"], r["next"]) for r in records] == [
        ("", "b"),
        ("a", "c"),
        ("b", ""),
    ]


def close_to(returns, x, y, reach=2.5):
    return returns[np.hypot(returns["x"] - x, returns["y"] - y) < reach]


def test_radar_measures_range_and_doppler_but_no_height():
    ego = EgoPath(speed_mps=6.0, start_m=-3.41, sway_m=0.0, rate=0.5, phase=0.0)
    here = station(mover(22.0, 0.0, (-4.0, 0.0), yaw=np.pi), ego=ego)
    scans = [here.radar(np.random.default_rng(k), RADAR) for k in range(8)]
    # The rear bumper, 20 m ahead of a radar that fires 7 ms late.
    found = np.concatenate([close_to(scan, 20, 0, 1.2) for scan in scans])
    assert len(found) >= 8
    assert (found["z"] == 0).all()
    assert np.mean(found["vx_comp"]) == pytest.approx(-4.0, abs=0.1)
    assert np.mean(found["vx"]) == pytest.approx(-10.0, abs=0.1)
    assert (found["dyn_prop"] == 2).all()
    assert np.mean(found["rcs"]) == pytest.approx(10, abs=4)
    assert max(len(close_to(scan, 20, 0)) for scan in scans) <= 8


def test_radar_ghosts_and_clutter_are_no_actors():
    here = station(mover(15.0, 0.0), mover(15.0, 4.0), mover(15.0, -4.0))
    scans = [here.radar(np.random.default_rng(k), RADAR) for k in range(30)]
    everything = np.concatenate(scans)
    strange = everything[np.hypot(everything["x"], everything["y"]) > 21]
    # Clutter alone is two per scan over the whole view.
    assert 20 < len(strange) < 120
    assert {0, 6} <= set(strange["invalid_state"])
    assert (everything["id"] < 60).all()


def test_radar_sees_nobody_behind_a_wall():
    here = station(mover(30.0, 0.0), background=(wall(20, 0, 60),))
    returns = here.radar(rng(), RADAR)
    ranges = np.hypot(returns["x"], returns["y"])
    assert (np.abs(returns["x"] - 16.5) < 1).any()
    assert not ((np.abs(returns["x"] - 24.6) < 1) & (returns["rcs"] > 4)).any()
    assert (np.diff(ranges) >= 0).all()


def test_radar_files_are_what_the_kit_reads(tmp_path):
    kit = pytest.importorskip("nuscenes.utils.data_classes")
    table = np.zeros(2, nuscenes_radar.POINT)
    table["x"], table["rcs"], table["vx_comp"] = [3, 4], [5.5, -2], [0.25, -9]
    table["id"], table["ambig_state"], table["pdh0"] = [0, 300], 3, [1, 5]
    path = tmp_path / "two.pcd"
    path.write_bytes(radar_pcd(table))
    points = kit.RadarPointCloud.from_file(str(path)).points
    assert points.shape == (18, 2)
    assert points[[0, 4, 5, 8, 15]].T.tolist() == [
        [3, 0, 5.5, 0.25, 1],
        [4, 300, -2, -9, 5],
    ]
    path.write_bytes(radar_pcd(table[:0]))
    assert kit.RadarPointCloud.from_file(str(path)).points.shape == (18, 0)
