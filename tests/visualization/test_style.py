"""Colours mean the same everywhere, and scales hit hand-computed values."""

import numpy as np
import pytest

from perception.visualization.style import (
    BOX_STYLES,
    DEPTH_SCALE,
    NO_RETURN,
    ColourScale,
    difference_scale,
    sensor_colour,
)

VIRIDIS_LOW, VIRIDIS_HIGH = (68, 1, 84), (253, 231, 37)


def test_known_sensors_have_different_okabe_ito_colours():
    names = ("camera", "lidar", "depth", "radar", "none")
    assert len({sensor_colour(name) for name in names}) == 5
    assert sensor_colour("camera") == (0, 114, 178)


@pytest.mark.parametrize("name", ["thermal", "камера", "", "camera_front"])
def test_any_sensor_name_has_a_stable_colour(name):
    assert sensor_colour(name) == sensor_colour(name)
    assert len(sensor_colour(name)) == 3


def test_statuses_differ_in_colour_and_in_line():
    told_apart = ("correct", "false", "missed", "ground_truth")
    styles = [BOX_STYLES[status] for status in told_apart]
    assert len({style.colour for style in styles}) == 4
    assert len({(style.dash_px, style.thickness_px) for style in styles}) == 4


def test_scale_colours_of_a_tiny_map():
    scale = ColourScale(0, 10, "m")
    levels = scale.levels(np.array([[0.0, 10.0, 5.0, np.nan]]))
    assert levels.tolist() == [[1, 255, 128, 0]]
    colours = scale.colours(levels)
    assert tuple(colours[0, 0]) == VIRIDIS_LOW
    assert tuple(colours[0, 1]) == VIRIDIS_HIGH
    assert tuple(colours[0, 3]) == NO_RETURN


def test_depth_is_bright_when_near_and_logarithmic():
    geometric_middle = np.sqrt(3.0 * 80.0)
    levels = DEPTH_SCALE.levels(np.array([3.0, geometric_middle, 80.0, 500.0, 0.1]))
    assert levels.tolist() == [255, 128, 1, 1, 255]


def test_levels_of_invalid_values_are_zero():
    valid = np.array([True, False])
    assert DEPTH_SCALE.levels(np.array([5.0, 5.0]), valid)[1] == 0


def test_difference_scale_is_dark_at_zero_and_symmetric():
    scale = difference_scale(8, "grey levels")
    low, zero, high = scale.levels(np.array([-8.0, 0.0, 8.0]))
    assert (low, zero, high) == (1, 128, 255)
    assert tuple(scale.colours(np.array(zero))) == NO_RETURN
    blue, orange = scale.colours(np.array([low, high])).astype(int)
    assert blue[2] > blue[0] and orange[0] > orange[2]


@pytest.mark.parametrize("limit", [0.0, np.nan, np.inf])
def test_difference_scale_of_no_difference(limit):
    assert difference_scale(limit, "m").high == 1.0


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (ColourScale(0, 10, "m"), [0, 2, 4, 6, 8, 10]),
        (ColourScale(-1, 1, "m"), [-1, -0.5, 0, 0.5, 1]),
        (DEPTH_SCALE, [5, 10, 20, 50]),
    ],
    ids=["linear", "signed", "log"],
)
def test_ticks_are_round(scale, ticks):
    assert scale.ticks() == pytest.approx(ticks)


def test_difference_ticks_carry_their_sign():
    scale = difference_scale(8, "m")
    assert [scale.tick_label(v) for v in (-4.0, 0.0, 4.0)] == ["−4", "0", "+4"]


@pytest.mark.parametrize("bounds", [(1, 1), (2, 1)])
def test_empty_scale_is_refused(bounds):
    with pytest.raises(ValueError, match="cannot span"):
        ColourScale(*bounds, "m")


def test_log_scale_from_zero_is_refused():
    with pytest.raises(ValueError, match="cannot span"):
        ColourScale(0, 1, "m", log=True)
