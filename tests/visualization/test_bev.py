"""The view from above: where things land, and what an attack did to the points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scene_makers import drawn

from perception.visualization.bev import MOST_MARKS, GroundView, draw_bev
from perception.visualization.boxes import BoxLayer
from perception.visualization.scene import point_changes
from perception.visualization.style import (
    CHANGE_COLOURS,
    REGION,
    SKY_BLUE,
    VERMILLION,
)


def bev(calibration, *, size, **kwargs):
    """The view alone, (H, W) ``size``."""
    blank = np.zeros((*size, 3), np.uint8)
    return drawn(blank, draw_bev, calibration, **kwargs)


def has_colour(image, colour):
    return bool((np.abs(image.astype(int) - colour).sum(axis=2) < 12).any())


def test_metres_to_pixels():
    view = GroundView((100, 60), (-10.0, 40.0))
    assert view.px_per_m == 2
    origin, ahead_right = view.pixels(np.array([[0, 0, 0], [5, 1, 40.0]]))
    assert origin.tolist() == [30, 80]
    assert ahead_right.tolist() == [40, 0]


def test_points_are_drawn_where_they_are(make_frame):
    frame = make_frame()
    point = np.array([[20.0, 5.0, 2.0, 0]])
    size = (200, 200)
    bare = bev(frame.calibration, size=size, forward_m=(0, 40))
    panel = bev(
        frame.calibration, size=size, points={"lidar": point}, forward_m=(0, 40)
    )
    rows, columns = np.nonzero((panel != bare).any(axis=2))
    assert abs(rows.mean() - 99.5) < 1.5 and abs(columns.mean() - 74.5) < 1.5


@given(height=st.integers(8, 200), width=st.integers(8, 200), ahead=st.integers(1, 400))
@settings(max_examples=20, deadline=None)
def test_any_size_and_range(make_frame, height, width, ahead):
    frame = make_frame()
    points = frame.sensors["lidar"]
    points.setflags(write=False)
    panel = bev(
        frame.calibration,
        size=(height, width),
        points={"lidar": points},
        layers=[BoxLayer(frame.objects)],
        image_size=frame.image_size,
        forward_m=(-2, ahead),
    )
    assert panel.shape == (height, width, 3)


def test_mirrored_image_has_the_same_field_of_view(make_frame):
    frame = make_frame()
    mirror = np.array([[-1, 0, 95], [0, 1, 0], [0, 0, 1.0]])
    views = [
        bev(calibration, size=(60, 60), image_size=frame.image_size)
        for calibration in (
            frame.calibration,
            frame.calibration.with_image_transform(mirror),
        )
    ]
    assert np.abs(views[0].astype(int) - views[1]).mean() < 3


CLEAN = np.array([[10, 0, 0, 0.1], [20, 1, 0, 0.2], [30, 2, 0, 0.3]], np.float32)


def test_moved_points():
    attacked = CLEAN.copy()
    attacked[1, 0] = 25
    changes = point_changes(CLEAN, attacked)
    assert changes.moved_from.tolist() == [[20, 1, 0]]
    assert changes.moved_to.tolist() == [[25, 1, 0]]
    assert changes.count("moved") == 1 and changes.count("added") == 0


def test_added_and_removed_points():
    added = point_changes(CLEAN[:2], CLEAN)
    assert added.added.tolist() == [[30, 2, 0]] and not len(added.removed)
    removed = point_changes(CLEAN, CLEAN[[2, 0]])
    assert removed.removed.tolist() == [[20, 1, 0]] and not len(removed.added)


def test_changes_of_empty_clouds():
    none = np.zeros((0, 4), np.float32)
    assert point_changes(none, CLEAN).count("added") == 3
    assert point_changes(CLEAN, none).count("removed") == 3
    assert point_changes(none, none).count("moved") == 0


@pytest.mark.parametrize(
    ("clean", "attacked", "colour"),
    [
        (CLEAN, CLEAN + np.float32([2, 0, 0, 0]), CHANGE_COLOURS["moved"]),
        (CLEAN[:1], CLEAN, VERMILLION),
        (CLEAN, CLEAN[:1], SKY_BLUE),
    ],
    ids=["moved", "added", "removed"],
)
def test_marks_are_visible_and_explained(make_frame, clean, attacked, colour):
    changes = point_changes(clean, attacked)
    panel = bev(
        make_frame().calibration,
        size=(300, 200),
        points={"lidar": attacked},
        changes={"lidar": changes},
        forward_m=(0, 40),
    )
    assert has_colour(panel, colour)


def test_thousands_of_added_points_are_dots_that_hide_little(make_frame):
    cloud = np.random.default_rng(0).uniform([2, -20, -2], [40, 20, 2], (4000, 3))
    cloud = np.hstack([cloud, np.zeros((4000, 1))]).astype(np.float32)
    few = point_changes(cloud[:0], cloud[:MOST_MARKS])
    many = point_changes(cloud[:0], cloud)
    shares = []
    for changes in (few, many):
        panel = bev(
            make_frame().calibration,
            size=(400, 400),
            points={"lidar": cloud},
            changes={"lidar": changes},
            forward_m=(0, 40),
        )
        reddish = np.abs(panel.astype(int) - VERMILLION).sum(axis=2) < 90
        shares.append(reddish.mean())
    assert 0 < shares[1] < 0.06  # 4000 pluses of 13 pixels would be a third
    assert shares[0] > 0


def test_a_certified_region_is_outlined_where_it_is(make_frame):
    square = np.array([[-5.0, 10], [5, 10], [5, 20], [-5, 20]])
    panel = bev(
        make_frame().calibration, size=(200, 200), regions=[square], forward_m=(0, 40)
    )
    rows, columns = np.nonzero(np.abs(panel.astype(int) - REGION).sum(axis=2) < 12)
    # Five pixels per metre: 10 to 20 m ahead, 5 m to both sides of the middle.
    assert abs(rows.min() - 100) < 3 and abs(rows.max() - 150) < 3
    assert abs(columns.min() - 75) < 3 and abs(columns.max() - 125) < 3
