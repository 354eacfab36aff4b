import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_makers import daylight, plain_atlas, scene_of, wall

from perception.datasets.synthetic.assets.meshes import (
    box,
    ellipsoid,
    hoop,
    merge,
    tube,
)
from perception.datasets.synthetic.assets.people import pedestrian
from perception.datasets.synthetic.assets.surfaces import TEXTURES, Surface
from perception.datasets.synthetic.kitti import observe
from perception.datasets.synthetic.sensing.rendering import Renderer
from perception.datasets.synthetic.sensing.sensors import Exposure, expose, look, rig
from perception.datasets.synthetic.sensing.tracing import Tracer
from perception.datasets.synthetic.world.actors import Crowd, place
from perception.datasets.synthetic.world.scene import Viewpoint, random_scene
from perception.datasets.synthetic.world.street import Layout

PAINT = Surface((0.5, 0.5, 0.5))
metres = st.floats(-30, 30)


def extent(mesh):
    flat = mesh.corners.reshape(-1, 3)
    return flat.max(0) - flat.min(0)


def area(mesh):
    a, b, c = np.moveaxis(mesh.corners, 1, 0)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_a_box_has_the_size_and_the_faces_it_was_given():
    mesh = box((1.0, 2.0, 3.0), (0, 0, 0), PAINT, tile_m=(0.5, 1.0))
    np.testing.assert_allclose(extent(mesh), [1, 2, 3])
    assert area(mesh) == pytest.approx(2 * (1 * 2 + 2 * 3 + 1 * 3))
    # Along v the walls repeat the texture three times, along u at most 2 / 0.5.
    assert mesh.uv[..., 0].max() == 4
    assert mesh.uv[:8, :, 1].max() == 3


@given(st.tuples(metres, metres, metres), st.tuples(metres, metres, metres))
def test_a_tube_runs_from_start_to_end(start, end):
    start, end = np.array(start), np.array(end)
    length = np.linalg.norm(end - start)
    if length < 0.1:
        return
    mesh = tube(start, end, 0.5, PAINT, sides=12)
    axis = (end - start) / length
    along = (mesh.corners.reshape(-1, 3) - start) @ axis
    away = mesh.corners.reshape(-1, 3) - start - along[:, None] * axis
    assert along.min() == pytest.approx(0, abs=1e-4)
    assert along.max() == pytest.approx(length, abs=1e-4)
    reach = np.linalg.norm(away, axis=1)
    assert reach.max() == pytest.approx(0.5, abs=1e-4)


def test_round_things_are_as_large_as_asked():
    ball = ellipsoid((0, 0, 0), (1, 2, 3), PAINT, rings=24, sides=48)
    np.testing.assert_allclose(extent(ball), [2, 4, 6], rtol=0.01)
    wheel = hoop((0, 0, 0), 0.34, 0.02, PAINT)
    np.testing.assert_allclose(extent(wheel), [0.68, 0.04, 0.68], atol=0.015)


@given(metres, metres, st.floats(-np.pi, np.pi), st.floats(-0.2, 0.2))
def test_headings_and_places_turn_with_the_camera(x, y, yaw, view_yaw):
    view = Viewpoint(lateral_m=0.5, height_m=1.6, yaw=view_yaw)
    base = np.array([x, y, 0.0])
    ahead = base + [np.cos(yaw), np.sin(yaw), 0]
    heading = view.to_cam(ahead) - view.to_cam(base)
    ry = view.rotation_y(yaw)
    np.testing.assert_allclose(heading, [np.cos(ry), 0, -np.sin(ry)], atol=1e-4)
    assert view.to_cam(base)[1] == pytest.approx(1.6)


def test_two_road_users_never_share_a_place():
    layout = Layout(3.2, (2.2, 0.0), (False, False), 2.0, (1.0, 1.0), None, None)
    crowd = Crowd(layout, night=False)
    mesh = pedestrian(np.random.default_rng(0))
    assert crowd.add("Pedestrian", mesh, (10, 0, 0), 0)
    assert not crowd.add("Pedestrian", mesh, (10.1, 0, 0), 0)
    assert crowd.add("Pedestrian", mesh, (12, 0, 0), 0)
    assert len(crowd.movers) == 2


def test_random_scenes_are_varied_and_repeatable():
    scenes = [random_scene(np.random.default_rng((0, k))) for k in range(12)]
    again = random_scene(np.random.default_rng((0, 3)))
    np.testing.assert_array_equal(scenes[3].mesh.corners, again.mesh.corners)
    assert {s.lighting.kind for s in scenes} == {"sun", "overcast", "night"}
    names = {o.name for s in scenes for o in s.objects}
    assert names == {"Car", "Van", "Pedestrian", "Cyclist"}
    for scene in scenes:
        assert len(scene.owner) == len(scene.mesh)
        assert scene.owner.max() == len(scene.objects) - 1
        assert np.isfinite(scene.mesh.corners).all()


@pytest.mark.parametrize("size", [(97, 33), (320, 96), (131, 57)])
def test_any_image_size_works(size):
    rng = np.random.default_rng((1, 2))
    frame = observe(rng, random_scene(rng), *size)
    shape = (size[1], size[0])
    assert frame.left_rgb.shape == frame.right_rgb.shape == (*shape, 3)
    assert frame.left_rgb.dtype == np.uint8
    assert frame.depth_m.shape == frame.owner.shape == shape
    assert frame.left_rgb.std() > 5


def test_full_lidar_sees_what_is_behind():
    scene = random_scene(np.random.default_rng((0, 1)))
    around = observe(np.random.default_rng(0), scene, 96, 32, full_lidar=True)
    ahead = observe(np.random.default_rng(0), scene, 96, 32)
    assert (around.points[:, 0] < -2).mean() > 0.2
    assert (ahead.points[:, 0] > 0).all()
    assert len(around.points) > 4 * len(ahead.points)


def test_stereo_measures_a_textured_wall_but_not_a_blank_one():
    rng = np.random.default_rng(0)
    rough = Surface((0.4, 0.4, 0.4), "asphalt")
    blank = Surface((0.4, 0.4, 0.4))
    found = []
    for surface in (rough, blank):
        scene = scene_of(background=(wall(12.05, 0, 60, surface),))
        frame = observe(rng, scene, 320, 96)
        found.append(frame.depth_m[:40, 40:])
    right = [(np.abs(depth - 12) < 1).mean() for depth in found]
    assert right[0] > 0.8
    assert right[1] < 0.5 * right[0]


def test_shadow_is_darker_than_light():
    # The key light comes from the right and above: a roof on the right shades.
    roof = box((4.0, 6.0, 0.1), (10, 0, 4), PAINT)
    scene = scene_of(background=(roof.moved((0, -3, 0)),))
    renderer = Renderer(scene.mesh, daylight(), plain_atlas())
    down = np.array([[0, 1.65, 10.0], [0, 1.65, 30.0]])
    down = (down / np.linalg.norm(down, axis=1, keepdims=True)).astype(np.float32)
    light, _ = renderer.radiance(np.zeros(3, np.float32), down, 0.003)
    assert light[0].mean() < 0.8 * light[1].mean()


def test_a_mirror_shows_what_is_behind_the_camera():
    mirror = Surface((1.0, 1.0, 1.0), gloss=1.0, mirror=True)
    red = Surface((0.9, 0.0, 0.0))
    scene = scene_of(background=(wall(10, 0, 40, mirror), wall(-5, 0, 200, red)))
    view = look(
        Renderer(scene.mesh, daylight(), plain_atlas()), rig(96, 32).image_P_cam, 96, 32
    )
    red_light, green_light, _ = view.radiance[8, 48]
    assert red_light > 3 * green_light


def test_more_light_is_brighter_and_darkness_is_noisier():
    setting = Exposure(1.0, 4000, 0.003, np.ones(3, np.float32))
    pictures = []
    for light in (0.02, 0.2, 0.9, 50.0):
        radiance = np.full((40, 40, 3), light, np.float32)
        pictures.append(expose(np.random.default_rng(0), radiance, setting))
    means = [picture.mean() for picture in pictures]
    assert means == sorted(means)
    assert means[-1] > 250
    assert pictures[0].std() > pictures[1].std() > 0


def test_textures_are_named_once_and_rays_report_what_they_hit():
    assert len(set(TEXTURES)) == len(TEXTURES)
    far, near = box((1, 1, 1), (0, 0, 5), PAINT), box((1, 1, 1), (0, 0, 3), PAINT)
    tracer = Tracer(merge([far, near]).corners)
    origin = np.zeros(3, np.float32)
    hits = tracer.cast(origin, np.array([[0, 0, 1], [0, 0, -1]], np.float32))
    np.testing.assert_allclose(hits.distance_m, [2.5, np.inf])
    assert hits.triangle[0] >= len(far) and hits.triangle[1] == -1
    assert tracer.blocked(origin[None], np.array([[0, 0, 1]], np.float32)).all()


def test_the_box_of_a_turned_actor_keeps_its_size():
    mesh = box((4.0, 1.8, 1.5), (1, 1, 0.75), PAINT)
    actor = place("Car", mesh, 10.0, 2.0, 0.0, 0.7)
    assert actor.size_m == pytest.approx((1.5, 1.8, 4.0))
    middle = actor.mesh.corners.reshape(-1, 3).mean(0)
    np.testing.assert_allclose(middle, [10, 2, 0.75], atol=1e-5)
