"""Pictures show hand-computed pixels and never change what they are given."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.core.structures import Calibration, Channel, SensorSpec
from perception.visualization.images import (
    as_rgb,
    change_counts,
    changed_channel,
    depth_picture,
    difference_picture,
    gate_picture,
    image_picture,
    paint_dots,
    points_picture,
    raster_picture,
)
from perception.visualization.style import (
    CHANGE_COLOURS,
    DEPTH_SCALE,
    NO_RETURN,
    SKY_BLUE,
    VERMILLION,
)

GREY_LEVELS = tuple(Channel(c, "grey levels", 0, 255) for c in ("red", "green", "blue"))
CAMERA = SensorSpec("camera", "image", GREY_LEVELS)
LIDAR = SensorSpec(
    "lidar",
    "points",
    (Channel("depth_m", "m", 0, 80), Channel("reflectance", "share", 0, 1)),
    ("x", "y", "z", "reflectance"),
)
IDENTITY = Calibration(np.array([[10.0, 0, 10, 0], [0, 10, 10, 0], [0, 0, 1, 0]]))


@pytest.mark.parametrize(
    ("shape", "value", "pixel"),
    [
        ((2, 3), 7.4, (7, 7, 7)),
        ((2, 3, 1), -5.0, (0, 0, 0)),
        ((2, 3, 3), 300.0, (255, 255, 255)),
        ((2, 3, 4), np.nan, (0, 0, 0)),
    ],
    ids=["grey", "one-channel", "rgb", "four-channels"],
)
def test_any_picture_becomes_rgb(shape, value, pixel):
    rgb = as_rgb(np.full(shape, value, dtype=np.float32))
    assert rgb.shape == (2, 3, 3) and rgb.dtype == np.uint8
    assert tuple(rgb[0, 0]) == pixel


@pytest.mark.parametrize("shape", [(3,), (0, 4, 3)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(ValueError, match=r"image must be \(H, W, C\)"):
        as_rgb(np.zeros(shape))


def test_depth_of_a_tiny_map():
    panel = depth_picture(np.array([[0.0, 3.0], [80.0, 80.0]]), 2)
    assert tuple(panel[0, 0]) == NO_RETURN
    assert tuple(panel[0, 1]) == (253, 231, 37)
    assert tuple(panel[1, 0]) == (68, 1, 84)


def test_lone_return_survives_shrinking():
    depth = np.zeros((40, 80), dtype=np.float32)
    depth[17, 33] = 3.0
    panel = depth_picture(depth, width=20)
    assert (panel == (253, 231, 37)).all(axis=2).any()


def test_point_lands_on_its_pixel_and_near_covers_far():
    points = np.array([[0, 0, 60.0], [0, 0, 4.0], [0, 0, -5.0]])
    panel = points_picture(points, np.eye(4), IDENTITY, (21, 21), 21)
    colour = DEPTH_SCALE.colours(DEPTH_SCALE.levels(np.array(4.0)))
    assert tuple(panel[10, 10]) == tuple(colour)
    assert tuple(panel[3, 3]) == NO_RETURN


def test_no_points_are_an_empty_panel():
    panel = points_picture(np.zeros((0, 4)), np.eye(4), IDENTITY, (20, 20), 20)
    assert (panel == NO_RETURN).all()


@given(height=st.integers(8, 70), width=st.integers(8, 70), target=st.integers(8, 120))
@settings(max_examples=25, deadline=None)
def test_any_size_and_no_input_changes(height, width, target):
    rng = np.random.default_rng(height * 100 + width)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    depth = rng.uniform(0, 90, (height, width)).astype(np.float32)
    image.setflags(write=False)
    depth.setflags(write=False)
    for picture in (image_picture(image, target), depth_picture(depth, target)):
        assert picture.shape[1:] == (target, 3) and picture.dtype == np.uint8


def test_a_photo_is_changed_by_less_than_anybody_sees():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    shown = image_picture(image, 30)
    assert np.abs(shown.astype(int) - image).max() == 2


def lidar(**pixels):
    """A map of 10 x 20 pixels; each keyword is depth, row and column."""
    raster = np.zeros((2, 10, 20), np.float32)
    for depth_m, row, column in pixels.values():
        raster[:, row, column] = depth_m, 1.0
    return raster


def test_a_channel_or_the_whole_picture():
    raster = lidar(a=(3.0, 4, 7))
    depth, reflectance = (raster_picture(raster, LIDAR, 20, channel=c) for c in (0, 1))
    assert tuple(reflectance[4, 7]) == (253, 231, 37)
    assert tuple(depth[4, 7]) == (253, 231, 37)  # near is bright
    assert tuple(depth[-1, 0]) == NO_RETURN
    assert (raster_picture(np.full((3, 10, 20), 90.0), CAMERA, 20) == 90).all()


def test_returns_that_came_and_went_have_colours_of_their_own():
    clean, attacked = lidar(a=(9, 2, 2), b=(9, 5, 5)), lidar(a=(9, 2, 2), c=(3, 8, 8))
    picture = raster_picture(attacked, LIDAR, 20, clean=clean)
    assert tuple(picture[8, 8]) == VERMILLION == CHANGE_COLOURS["added"]
    assert tuple(picture[5, 5]) == SKY_BLUE == CHANGE_COLOURS["removed"]
    plain = raster_picture(attacked, LIDAR, 20)
    assert tuple(picture[2, 2]) == tuple(plain[2, 2]) != NO_RETURN
    assert change_counts(clean, attacked, LIDAR) == {
        "changed": 0,
        "added": 1,
        "removed": 1,
    }


@pytest.mark.parametrize("width", [20, 12], ids=["as it is", "shrunk"])
def test_what_was_there_shows_through_a_field_of_added_returns(width):
    clean = lidar(a=(9, 2, 2), b=(30, 5, 15))
    attacked = clean.copy()
    attacked[:, (clean == 0).all(axis=0)] = 1.0
    picture = raster_picture(attacked, LIDAR, width, clean=clean)
    bare = raster_picture(clean, LIDAR, width)
    seen = (bare != NO_RETURN).any(axis=2)
    assert seen.any()
    np.testing.assert_array_equal(picture[seen], bare[seen])
    added = picture[~seen].astype(int)
    assert (added[:, 0] > added[:, 2] + 30).all()  # reddish, and fainter than a mark
    assert added[:, 0].max() < VERMILLION[0]


def test_raster_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"must be \(3, H, W\), got \(2, 4, 4\)"):
        raster_picture(np.zeros((2, 4, 4)), CAMERA, 8)


def test_difference_has_its_sign_and_unit():
    clean = np.full((3, 8, 8), 100.0)
    attacked = clean.copy()
    attacked[0, 2, 3] += 8
    attacked[2, 5, 6] -= 8
    picture, scale = difference_picture(clean, attacked, CAMERA, 8, limit=8)
    assert picture[2, 3].tolist() == [255, 219, 140]
    assert picture[5, 6].tolist() == [178, 224, 255]
    assert tuple(picture[0, 0]) == NO_RETURN
    assert (scale.low, scale.high, scale.unit) == (-8, 8, "grey levels")
    assert (clean == 100).all()


def test_difference_shows_the_first_channel_that_changed():
    clean = np.full((2, 8, 8), 1.0)
    attacked = clean.copy()
    attacked[1, 4, 4] = 0.5
    picture, _ = difference_picture(clean, attacked, LIDAR, 8)
    assert (picture[4, 4] != NO_RETURN).any()
    forced, _ = difference_picture(clean, attacked, LIDAR, 8, channel=0)
    assert (forced == NO_RETURN).all()
    assert changed_channel(clean, attacked, LIDAR) == 1
    assert changed_channel(clean, clean, LIDAR) == 0


def test_a_return_that_came_is_no_difference_of_depth():
    clean, attacked = lidar(a=(9, 2, 2)), lidar(a=(10, 2, 2), b=(50, 5, 5))
    picture, scale = difference_picture(clean, attacked, LIDAR, 20)
    assert scale.high == 1
    assert tuple(picture[5, 5]) == NO_RETURN != tuple(picture[2, 2])


def test_lone_negative_change_survives_shrinking():
    clean = np.full((2, 40, 80), 9.0)
    attacked = clean.copy()
    attacked[0, 17, 33] = 4
    picture, _ = difference_picture(clean, attacked, LIDAR, 20)
    assert (picture.astype(int)[..., 2] > 200).any()


def test_a_bad_difference_is_refused():
    with pytest.raises(ValueError, match="attacked"):
        difference_picture(np.zeros((2, 8, 8)), np.zeros((2, 8, 9)), LIDAR, 8)


NAMES = ["camera", "lidar", "depth"]


def test_gate_is_grey_where_nobody_is_odd_and_tinted_elsewhere():
    image = np.full((20, 40, 3), (200, 100, 50), np.uint8)
    gate = np.zeros((4, 2, 4), np.float32)
    gate[3, :, :2] = 1
    gate[1, :, 2:] = 1
    picture = gate_picture(gate, NAMES, image, 40)
    assert (picture[:, :20] == picture[:, :20, :1]).all()
    red, _, blue = picture[10, 30].astype(int)
    assert red - blue > 100


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 2), r"gate map must be \(S \+ 1, h, w\)"),
        ((3, 2, 2), "gate must have 4 probabilities"),
        ((), "gate must have 4 probabilities"),
    ],
)
def test_a_gate_of_another_shape_is_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        gate_picture(np.zeros(shape), NAMES, np.zeros((4, 4, 3)), 9)


@pytest.mark.parametrize("size_px", [1, 2, 3])
def test_dots_are_cut_at_the_edges_and_later_ones_cover(size_px):
    picture = np.zeros((6, 8, 3), np.uint8)
    places = [
        [0, 0],
        [7, 5],
        [3, 2],
        [3, 2],
        [-50, 2],
        [np.nan, 1],
        [np.inf, 1],
        [8.6, 2],
    ]
    colours = [[n + 1] * 3 for n in range(len(places))]
    paint_dots(picture, np.array(places), np.array(colours), size_px)
    values = picture[..., 0]
    assert values[0, 0] == 1 and values[5, 7] == 2 and values[2, 3] == 4
    assert set(np.unique(values)) <= {0, 1, 2, 4, 8}
    assert (values == 4).sum() == size_px**2
