import numpy as np
import pytest
from box_checks import points_in_boxes, project_boxes
from synthetic_makers import CAMERA_HEIGHT_M, scene_of, wall

from perception.core.geometry import (
    box_corners,
    transform_points,
)
from perception.datasets.synthetic.assets.meshes import box
from perception.datasets.synthetic.assets.people import cyclist, pedestrian
from perception.datasets.synthetic.assets.roadside import billboard
from perception.datasets.synthetic.assets.surfaces import Surface
from perception.datasets.synthetic.assets.vehicles import CAR_STYLES, vehicle
from perception.datasets.synthetic.kitti import observe
from perception.datasets.synthetic.sensing.labels import label_objects
from perception.datasets.synthetic.sensing.sensors import pixel_rays, rig
from perception.datasets.synthetic.sensing.tracing import Tracer
from perception.datasets.synthetic.world.actors import place

WIDTH, HEIGHT = 320, 96
CALIBRATION = rig(WIDTH, HEIGHT)
FX = CALIBRATION.fx_px
PAINT = Surface((0.5, 0.1, 0.1), reflectance=0.5)
CUBE = box((2.0, 2.0, 2.0), (0, 0, 1.0), PAINT)


def labels_of(scene, width=WIDTH, height=HEIGHT):
    """Labels alone, from one cast at the left camera."""
    projection = rig(width, height).image_P_cam
    v, u = np.mgrid[:height, :width]
    centre, rays = pixel_rays(projection, np.stack([u.ravel(), v.ravel()], 1))
    triangle = Tracer(scene.mesh.corners).cast(centre, rays).triangle
    owner = np.where(triangle >= 0, scene.owner[triangle], -1).reshape(height, width)
    return label_objects(scene, projection, owner)


def cube(x, y=0.0, name="Car", yaw=0.0):
    return place(name, CUBE, x, y, 0.0, yaw)


def test_a_cube_straight_ahead_by_hand():
    objects = labels_of(scene_of(cube(11.0)))
    assert list(objects.names) == ["Car"]
    # The front face is 10 m away; the camera stands 0.06 m left of the cam frame.
    cx, cy = CALIBRATION.image_P_cam[0, 2], CALIBRATION.image_P_cam[1, 2]
    low, high = CAMERA_HEIGHT_M - 2, CAMERA_HEIGHT_M
    expected = [
        *(cx + FX * (-1 + 0.06) / 10, cy + FX * low / 10),
        *(cx + FX * (1 + 0.06) / 10, cy + FX * high / 10),
    ]
    np.testing.assert_allclose(objects.boxes_px[0], expected, atol=0.01)
    np.testing.assert_allclose(objects.dimensions_m[0], [2, 2, 2], atol=1e-6)
    np.testing.assert_allclose(
        objects.location_m[0], [0, CAMERA_HEIGHT_M, 11], atol=1e-6
    )
    assert objects.rotation_y[0] == pytest.approx(-np.pi / 2)
    assert objects.alpha[0] == pytest.approx(-np.pi / 2)
    assert objects.occlusion[0] == 0
    assert objects.truncation[0] == 0


def test_alpha_is_the_yaw_relative_to_the_line_of_sight():
    # 3-4-5: 8 m ahead, 6 m to the left, so x = -6 and z = 8 in the cam frame.
    objects = labels_of(scene_of(cube(8.0, 6.0, yaw=0.3)))
    assert objects.rotation_y[0] == pytest.approx(-0.3 - np.pi / 2)
    assert objects.alpha[0] == pytest.approx(-0.3 - np.pi / 2 - np.arctan2(-6, 8))


@pytest.mark.parametrize(
    ("covered", "expected"),
    [(0.1, 0), (0.35, 1), (0.7, 2), (0.95, None)],
    ids=["mostly free", "half hidden", "largely hidden", "hidden"],
)
def test_occlusion_is_the_share_that_a_wall_hides(covered, expected):
    # The front face, 10 m away, spans y = 1 … -1; the wall, 5 m away and left of it,
    # hides it down to y = 1 - 2 * covered. Both are seen from y = 0.06.
    edge = 0.06 + (1 - 2 * covered - 0.06) / 2
    screen = wall(4.95, edge + 10, 20.0)
    objects = labels_of(scene_of(cube(11.0), background=(screen,)))
    if expected is None:
        assert list(objects.names) == ["DontCare"]
        assert objects.location_m[0, 0] == -1000
    else:
        assert list(objects.names) == ["Car"]
        assert objects.occlusion[0] == expected


def test_what_is_wholly_hidden_has_no_label():
    assert len(labels_of(scene_of(cube(11.0), background=(wall(5, 0, 20),)))) == 0


def test_truncation_is_the_share_outside_the_image():
    # The image's left edge, seen 10 m away, is the middle of the front face.
    cx = CALIBRATION.image_P_cam[0, 2]
    edge_y = 0.06 + 10 * cx / FX
    objects = labels_of(scene_of(cube(11.0, edge_y)))
    outside = FX * 1 / 10
    # The rear right corner, 12 m away, is the rightmost.
    inside = cx - FX * (edge_y - 1 - 0.06) / 12
    np.testing.assert_allclose(objects.boxes_px[0, [0, 2]], [0, inside], atol=1e-3)
    assert objects.truncation[0] == pytest.approx(outside / (outside + inside))


def test_far_objects_become_dont_care():
    objects = labels_of(scene_of(cube(15.0), cube(120.0, 20.0)))
    assert list(objects.names) == ["Car", "DontCare"]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("Car", lambda rng: vehicle(rng, CAR_STYLES, lit=False)),
        ("Pedestrian", pedestrian),
        ("Cyclist", cyclist),
    ],
    ids=["car", "pedestrian", "cyclist"],
)
def test_the_3d_box_is_tight_and_projects_onto_the_2d_box(name, make, seed):
    rng = np.random.default_rng(seed)
    yaw = rng.uniform(-np.pi, np.pi)
    actor = place(name, make(rng), 9.0, rng.uniform(-3, 3), 0.0, yaw)
    scene = scene_of(actor)
    objects = labels_of(scene, 640, 192)
    columns = (objects.dimensions_m, objects.location_m, objects.rotation_y)
    points = scene.objects[0].corners.reshape(-1, 3).astype(float)
    dimensions = objects.dimensions_m + 1e-4
    assert points_in_boxes(points, dimensions, *columns[1:])[points[:, 1] <= 1.65].all()
    shrunk = (objects.dimensions_m - 0.02, *columns[1:])
    assert not points_in_boxes(points, *shrunk).all()
    projected = project_boxes(rig(640, 192).image_P_cam, box_corners(*columns))[0]
    size = np.tile(projected[2:] - projected[:2], 2)
    difference = np.abs(projected - objects.boxes_px[0]) / size
    # A corner of the box may stick out where the body is round, never the reverse.
    assert difference.max() < 0.25
    assert (objects.boxes_px[0, :2] >= projected[:2] - 0.1).all()
    assert (objects.boxes_px[0, 2:] <= projected[2:] + 0.1).all()


def test_lidar_and_camera_agree_with_the_label():
    rng = np.random.default_rng(0)
    actor = place("Car", vehicle(rng, CAR_STYLES, lit=False), 9.0, 1.0, 0.0, 0.4)
    frame = observe(rng, scene_of(actor), WIDTH, HEIGHT)
    cam = transform_points(frame.calibration.cam_T_sensor["lidar"], frame.points[:, :3])
    objects = frame.objects
    grown = objects.dimensions_m + 0.2
    inside = points_in_boxes(cam, grown, objects.location_m, objects.rotation_y)[:, 0]
    above_road = cam[:, 1] < CAMERA_HEIGHT_M - 0.1
    assert inside.sum() > 500
    # On an empty plain everything above the road is the car.
    assert (inside | ~above_road).mean() > 0.999
    left, top, right, bottom = np.round(objects.boxes_px[0]).astype(int)
    owned = frame.owner == 0
    rows, columns = np.nonzero(owned)
    assert left <= columns.min() and columns.max() <= right + 1
    assert top <= rows.min() and rows.max() <= bottom + 1


def test_the_car_on_a_poster_is_not_labelled():
    poster = billboard(np.random.default_rng(3)).moved((12, 0, 0))
    scene = scene_of(cube(11.0, 5.0), background=(poster,))
    objects = labels_of(scene)
    assert list(objects.names) == ["Car"]
    assert objects.location_m[0, 0] == pytest.approx(-5)
