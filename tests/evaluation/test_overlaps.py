import numpy as np
import pytest
from evaluation_makers import ground_polygon, objects_of
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon

from perception.evaluation.detection.overlaps import (
    ground_sizes,
    image_sizes,
    rectangle_intersection,
    space_sizes,
)

POSITION = st.floats(-5, 5) | st.sampled_from([0.0, 1.0, -2.0])
SIDE = st.floats(0.01, 8) | st.sampled_from([1.0, 2.0, 4.0])
YAW = st.floats(-7, 7) | st.sampled_from([0.0, np.pi / 2, np.pi, -np.pi, np.pi / 4])
RECTANGLE = st.tuples(POSITION, POSITION, SIDE, SIDE, YAW)


def polygon(rectangle):
    x, z, length, width, yaw = rectangle
    ahead = np.array([np.cos(yaw), -np.sin(yaw)]) * length / 2
    aside = np.array([np.sin(yaw), np.cos(yaw)]) * width / 2
    corners = [ahead + aside, ahead - aside, -ahead - aside, aside - ahead]
    return Polygon([corner + np.array([x, z]) for corner in corners])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(RECTANGLE, RECTANGLE), min_size=1, max_size=8))
def test_intersection_agrees_with_shapely(pairs):
    first, second = (np.array(column) for column in zip(*pairs, strict=True))
    expected = [polygon(a).intersection(polygon(b)).area for a, b in pairs]
    np.testing.assert_allclose(
        rectangle_intersection(first, second), expected, atol=1e-7
    )


@settings(max_examples=100, deadline=None)
@given(RECTANGLE, st.integers(-2, 2), st.sampled_from([0.0, 1e-16, 1e-12, -1e-9]))
def test_a_rectangle_covers_itself(rectangle, half_turns, nudge):
    first = np.array([rectangle])
    second = first + np.array([nudge, -nudge, 0, 0, half_turns * np.pi])
    area = rectangle[2] * rectangle[3]
    assert rectangle_intersection(first, second)[0] == pytest.approx(area, abs=1e-7)


@pytest.mark.parametrize(
    ("first", "second", "area"),
    [
        pytest.param((0, 0, 4, 2, 0), (1, 1, 4, 2, 0), 3, id="shifted"),
        pytest.param((0, 0, 4, 2, 0), (0, 0, 4, 2, np.pi / 2), 4, id="crossed"),
        pytest.param((0, 0, 2, 2, 0), (0, 0, 9, 9, 1), 4, id="inside"),
        pytest.param((0, 0, 2, 2, 0), (2, 0, 2, 2, 0), 0, id="touching"),
        pytest.param((0, 0, 2, 2, 0), (50, 0, 2, 2, 1), 0, id="far"),
        pytest.param(
            (0, 0, 2, 2, 0),
            (0, 0, 2, 2, np.pi / 4),
            8 * (np.sqrt(2) - 1),
            id="octagon",
        ),
        pytest.param((0, 0, 0, 2, 0), (0, 0, 2, 2, 0), 0, id="without width"),
    ],
)
def test_intersection_by_hand(first, second, area):
    got = rectangle_intersection(np.array([first], float), np.array([second], float))
    assert got[0] == pytest.approx(area, abs=1e-12)


def test_positive_yaw_turns_from_z_to_x():
    # As KITTI's rotation_y, about the axis that points down: length 4 turned by
    # 30 degrees lies along (cos, -sin), where a thin long rectangle is put.
    yaw = np.pi / 6
    objects = objects_of(
        "Car",
        [[0, 0, 1, 1]],
        dimensions_m=[[1.5, 1, 4]],
        location_m=[[0, 0, 0]],
        rotation_y=[yaw],
    )
    end = np.array([1.9 * np.cos(yaw), -1.9 * np.sin(yaw)])
    assert (
        ground_polygon(objects, 0).buffer(1e-9).contains(polygon((*end, 0.1, 0.1, yaw)))
    )
    probe = np.array([[*end, 0.1, 0.1, yaw]])
    car = np.array([[0, 0, 4, 1, yaw]])
    assert rectangle_intersection(car, probe)[0] == pytest.approx(0.01)


def test_sizes_in_image_ground_and_space():
    first, second = (
        objects_of(
            "Car",
            [box],
            dimensions_m=[[2, 2, 4]],
            location_m=[location],
            rotation_y=[0],
        )
        for box, location in (
            ([0, 0, 10, 10], [0, 1, 10]),
            ([5, 8, 15, 18], [1, 2, 11]),
        )
    )
    assert [size[0] for size in image_sizes(first, second)] == [10, 100, 100]
    assert [size[0] for size in ground_sizes(first, second)] == [3, 8, 8]
    assert [size[0] for size in space_sizes(first, second)] == [3, 16, 16]
