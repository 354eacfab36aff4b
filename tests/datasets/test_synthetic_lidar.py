import numpy as np
import pytest
from synthetic_makers import daylight, plain_atlas, scene_of, wall

from perception.datasets.synthetic.assets.surfaces import GLASS, STEEL_MIRROR, Surface
from perception.datasets.synthetic.sensing.lidar import (
    HDL64,
    beam_directions,
    beam_elevations_deg,
    scan,
)
from perception.datasets.synthetic.sensing.rendering import Renderer
from perception.datasets.synthetic.sensing.sensors import rig

# Looks along x from the cam frame's origin, without tilt.
LEVEL = np.array([[0, -1.0, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


def scan_of(*background, seed=0, half_view_rad=0.3, pose=LEVEL):
    scene = scene_of(background=background)
    renderer = Renderer(scene.mesh, daylight(), plain_atlas())
    return scan(np.random.default_rng(seed), renderer, pose, half_view_rad)[0]


def off_the_road(points, x):
    """Points nearer than 1 m to the wall at distance x."""
    return points[(np.abs(points[:, 0] - x) < 1) & (points[:, 2] > -1.4)]


def test_beams_are_an_hdl64s():
    elevation = beam_elevations_deg()
    assert elevation.shape == (64,)
    assert elevation[0] == 2.0 and elevation[-1] == -24.8
    assert (np.diff(elevation) < 0).all()
    # The upper block is denser than the lower.
    assert np.diff(elevation[:32]).mean() == pytest.approx(-1 / 3, abs=0.01)
    assert np.diff(elevation[32:]).mean() == pytest.approx(-0.515, abs=0.01)


def test_a_revolution_has_64_beams_at_every_azimuth_step():
    rays = beam_directions()
    assert len(rays) == 64 * round(360 / HDL64.azimuth_step_deg)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1, atol=1e-6)
    beam = rays.reshape(64, -1, 3)[10]
    azimuth = np.unwrap(np.arctan2(beam[:, 1], beam[:, 0]))
    np.testing.assert_allclose(np.degrees(np.diff(azimuth)), 0.1728, atol=2e-3)


def test_a_narrow_scan_has_only_rays_near_x():
    rays = beam_directions(0.5)
    assert np.abs(np.arctan2(rays[:, 1], rays[:, 0])).max() < 0.5 + 0.003


def test_range_noise_is_two_centimetres():
    points = off_the_road(scan_of(wall(20.05, 0, 40)), 20)
    error = points[:, 0] - 20.0
    assert abs(error.mean()) < 0.003
    assert error.std() == pytest.approx(0.02, rel=0.15)


def test_dark_surfaces_reflect_less_and_vanish_earlier():
    dark, bright = (Surface((t, t, t), reflectance=t) for t in (0.03, 0.7))
    near = [off_the_road(scan_of(wall(15, 0, 40, s)), 15) for s in (dark, bright)]
    assert near[0][:, 3].mean() < 0.1 < 0.5 < near[1][:, 3].mean()
    far = [off_the_road(scan_of(wall(55, 0, 99, s)), 55) for s in (dark, bright)]
    assert len(far[0]) < 0.35 * len(far[1])


def test_glass_returns_little():
    counts = [
        len(off_the_road(scan_of(wall(15, 0, 40, s)), 15))
        for s in (GLASS, Surface((0.5, 0.5, 0.5), reflectance=0.5))
    ]
    assert 0.1 < counts[0] / counts[1] < 0.4


def test_grazing_light_returns_less():
    plain = Surface((0.5, 0.5, 0.5), reflectance=0.5)
    head_on = off_the_road(scan_of(wall(15, 0, 40, plain)), 15)[:, 3].mean()
    turned = wall(0, 0, 40, plain).moved((15, 0, 0), 1.3)
    points = scan_of(turned)
    grazing = points[points[:, 2] > -1.4][:, 3].mean()
    assert grazing < 0.7 * head_on


def test_a_mirror_shows_the_world_behind_itself():
    # A mirror 10 m ahead and a wall 5 m behind the LiDAR: light travels 10 + 15 m.
    points = scan_of(wall(10.05, 0, 40, STEEL_MIRROR), wall(-5.05, 0, 400))
    ghosts = points[points[:, 2] > 0]
    assert len(ghosts) > 50
    np.testing.assert_allclose(ghosts[:, 0], 25, atol=0.3)


def test_points_are_float32_in_range():
    points = scan_of(wall(20, 0, 40), pose=rig(320, 96).cam_T_sensor["lidar"])
    assert points.dtype == np.float32 and points.shape[1] == 4
    assert np.isfinite(points).all()
    assert points[:, 3].min() >= 0 and points[:, 3].max() < 1


def test_an_empty_world_gives_no_points():
    scene = scene_of()
    renderer = Renderer(scene.mesh, daylight(), plain_atlas())
    # Columns are the LiDAR's axes in the cam frame: x points at the sky.
    upward = np.eye(4)
    upward[:3, :3] = np.array([[0, -1, 0], [-1, 0, 0], [0, 0, -1]]).T
    points, laser = scan(np.random.default_rng(0), renderer, upward, 0.3)
    assert (points.shape, laser.shape) == ((0, 4), (0,))
