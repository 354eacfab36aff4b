"""Projection and box geometry, against numbers worked out by hand."""

import numpy as np
import pytest
from box_checks import points_in_boxes, project_boxes
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from perception.core.geometry import (
    box_corners,
    disparity_to_depth,
    inverse_transform,
    project_to_image,
    rotation_y_to_alpha,
    transform_points,
    unproject_to_cam,
    wrap_angle,
)

# f = 100 px, centre (50, 20).
SIMPLE_P = np.array([[100.0, 0, 50, 0], [0, 100, 20, 0], [0, 0, 1, 0]])
# KITTI's P2 has an offset in all three rows.
KITTI_P = np.array(
    [[721.5, 0, 609.6, 44.86], [0, 721.5, 172.9, 0.2164], [0, 0, 1, 0.0027]]
)


def finite(low, high):
    return st.floats(low, high, allow_nan=False, width=64)


def test_transform_points_rotates_then_translates():
    # x forward, y left, z up  ->  x right, y down, z forward, moved by (1, 2, 3)
    cam_T_velo = np.array([[0, -1, 0, 1], [0, 0, -1, 2], [1, 0, 0, 3], [0, 0, 0, 1.0]])
    moved = transform_points(cam_T_velo, np.array([[10.0, 4.0, -1.0]]))
    np.testing.assert_allclose(moved, [[-4 + 1, 1 + 2, 10 + 3]])
    back = transform_points(inverse_transform(cam_T_velo), moved)
    np.testing.assert_allclose(back, [[10, 4, -1]])


@pytest.mark.parametrize(
    ("point", "pixel"),
    [
        pytest.param([0, 0, 5], [50, 20], id="on the axis"),
        pytest.param([1, -2, 4], [75, -30], id="right and up"),
        pytest.param([-3, 0.4, 10], [20, 24], id="left and down"),
    ],
)
def test_project_to_image_by_hand(point, pixel):
    pixels, depth_m = project_to_image(SIMPLE_P, np.array([point], dtype=float))
    np.testing.assert_allclose(pixels, [pixel])
    assert depth_m == [point[2]]


def test_a_point_in_the_cameras_plane_has_no_pixel():
    pixels, depth_m = project_to_image(SIMPLE_P, np.array([[1.0, 1.0, 0.0]]))
    assert np.isnan(pixels).all()
    assert depth_m == [0]


@given(
    arrays(np.float64, (5, 2), elements=finite(-500, 2000)),
    arrays(np.float64, 5, elements=finite(0.5, 200)),
    st.sampled_from([SIMPLE_P, KITTI_P, np.diag([-1.0, 1, 1]) @ KITTI_P]),
)
def test_projecting_undoes_unprojecting(pixels, depth_m, image_P_cam):
    points = unproject_to_cam(image_P_cam, pixels, depth_m)
    again, again_m = project_to_image(image_P_cam, points)
    np.testing.assert_allclose(again, pixels, atol=1e-6)
    np.testing.assert_allclose(again_m, depth_m, rtol=1e-9)


def test_disparity_and_depth_by_hand():
    # 700 px * 0.5 m / 10 px = 35 m
    np.testing.assert_allclose(
        disparity_to_depth(np.array([10.0, 0.0]), 700, 0.5), [35, 0]
    )


def test_box_corners_at_yaw_zero_by_hand():
    # height 1, width 2, length 4: length along x, width along z, bottom at y = 0.
    corners = box_corners(
        np.array([[1.0, 2, 4]]), np.array([[10.0, 0, 20]]), np.array([0.0])
    )
    bottom = [[12, 0, 21], [12, 0, 19], [8, 0, 19], [8, 0, 21]]
    top = [[x, -1, z] for x, _, z in bottom]
    np.testing.assert_allclose(corners[0], bottom + top)


def test_a_quarter_turn_points_the_box_away_from_plus_z():
    # At yaw pi/2 the front (+x at yaw 0) looks along -z: towards the camera.
    corners = box_corners(
        np.array([[1.0, 2, 4]]), np.zeros((1, 3)), np.array([np.pi / 2])
    )
    np.testing.assert_allclose(corners[0, 0], [1, 0, -2], atol=1e-12)
    np.testing.assert_allclose(corners[0, 2], [-1, 0, 2], atol=1e-12)


def test_project_boxes_by_hand_and_clipped():
    # A 2 m cube, bottom centre (0, 1, 11): front face z = 10 spans +-1 m = +-10 px.
    corners = box_corners(
        np.array([[2.0, 2, 2]]), np.array([[0.0, 1, 11]]), np.zeros(1)
    )
    np.testing.assert_allclose(project_boxes(SIMPLE_P, corners), [[40, 10, 60, 30]])
    np.testing.assert_allclose(
        project_boxes(SIMPLE_P, corners, (25, 55)), [[40, 10, 54, 24]]
    )


def test_a_box_behind_the_camera_has_no_image_box():
    corners = box_corners(
        np.array([[2.0, 2, 2]]), np.array([[0.0, 1, -11]]), np.zeros(1)
    )
    assert np.isnan(project_boxes(SIMPLE_P, corners, (40, 100))).all()


def test_a_box_reaching_behind_the_camera_is_cut():
    # x from 1 to 3, z from -5 to 5: cut at 0.1 m its right edge runs off the image,
    # and its left edge is the far corner x = 1, z = 5: u = 50 + 20.
    corners = box_corners(
        np.array([[2.0, 10, 2]]), np.array([[2.0, 1, 0]]), np.zeros(1)
    )
    box = project_boxes(SIMPLE_P, corners, (40, 100))[0]
    np.testing.assert_allclose(box, [70, 0, 99, 39])


def test_no_boxes_no_points():
    none = np.zeros((0, 3))
    assert box_corners(none, none, np.zeros(0)).shape == (0, 8, 3)
    assert project_boxes(SIMPLE_P, np.zeros((0, 8, 3)), (4, 4)).shape == (0, 4)
    assert points_in_boxes(np.ones((7, 3)), none, none, np.zeros(0)).shape == (7, 0)
    assert points_in_boxes(none, none, none, np.zeros(0)).shape == (0, 0)


def test_points_in_boxes_by_hand():
    dimensions_m = np.array([[1.0, 2, 4], [1.0, 2, 4]])
    location_m = np.array([[0.0, 0, 10], [0.0, 0, 10]])
    points = np.array(
        [
            [1.9, -0.5, 10],  # along the length at yaw 0, beside the turned box
            [0.0, -0.5, 11.9],  # the other way round
            [0.0, 0.1, 10],  # under the road
            [0.0, -1.1, 10],  # above the roof
            [0.0, -1.0, 10],  # on the roof
        ]
    )
    mask = points_in_boxes(points, dimensions_m, location_m, np.array([0, np.pi / 2]))
    expected = [[True, False], [False, True], [False] * 2, [False] * 2, [True] * 2]
    assert mask.tolist() == expected


@given(
    arrays(np.float64, (3, 3), elements=finite(0.1, 10)),
    arrays(np.float64, (3, 3), elements=finite(-50, 50)),
    arrays(np.float64, 3, elements=finite(-4, 4)),
    finite(0, 0.999),
)
def test_shrunken_corners_are_inside_and_grown_ones_outside(dims, loc, yaw, shrink):
    corners = box_corners(dims, loc, yaw)
    centre = corners.mean(axis=1, keepdims=True)
    inside = centre + shrink * (corners - centre)
    outside = centre + (1.01 + shrink) * (corners - centre)
    for i in range(3):
        assert points_in_boxes(inside[i], dims, loc, yaw)[:, i].all()
        assert not points_in_boxes(outside[i], dims, loc, yaw)[:, i].any()


def test_alpha_by_hand():
    # Seen 45 degrees to the right, a car looking along +x (yaw 0) shows -45 degrees.
    location_m = np.array([[10.0, 0, 10]])
    np.testing.assert_allclose(
        rotation_y_to_alpha(np.zeros(1), location_m), [-np.pi / 4]
    )


@given(finite(-np.pi, np.pi), finite(-50, 50), finite(0.1, 80))
def test_alpha_and_the_ray_give_the_yaw_back(rotation_y, x, z):
    location_m = np.array([[x, 1.5, z]])
    alpha = rotation_y_to_alpha(np.array([rotation_y]), location_m)
    again = alpha + np.arctan2(x, z)
    assert -np.pi <= alpha[0] <= np.pi
    np.testing.assert_allclose(wrap_angle(again - rotation_y), 0, atol=1e-9)
