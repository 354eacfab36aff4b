"""Panels show hand-computed pixels and never change what they are given."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.core.structures import Calibration, Channel, Objects, SensorSpec
from perception.visualization.boxes import BoxLayer, draw_boxes, draw_boxes_3d
from perception.visualization.palette import (
    BOX_STYLES,
    DEPTH_SCALE,
    GREEN,
    NO_RETURN,
    VERMILLION,
    YELLOW,
)
from perception.visualization.panels import (
    as_rgb,
    depth_panel,
    image_panel,
    points_panel,
)
from perception.visualization.rasters import difference_panel, raster_panels

GREY_LEVELS = tuple(Channel(c, "grey levels", 0, 255) for c in ("red", "green", "blue"))
CAMERA = SensorSpec("camera", "image", GREY_LEVELS)
LIDAR = SensorSpec(
    "lidar",
    "points",
    (Channel("depth_m", "m", 0, 80), Channel("reflectance", "share", 0, 1)),
    ("x", "y", "z", "reflectance"),
)
IDENTITY = Calibration(np.array([[10.0, 0, 10, 0], [0, 10, 10, 0], [0, 0, 1, 0]]))


def boxes(*rows, names=None, scores=None):
    names = names or ["Car"] * len(rows)
    scores = None if scores is None else np.array(scores)
    return Objects.from_boxes(np.array(names, dtype=object), np.array(rows), scores)


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
    panel = depth_panel(np.array([[0.0, 3.0], [80.0, 80.0]]), width=2)
    assert tuple(panel[0, 0]) == NO_RETURN
    assert tuple(panel[0, 1]) == (253, 231, 37)
    assert tuple(panel[1, 0]) == (68, 1, 84)


def test_lone_return_survives_shrinking():
    depth = np.zeros((40, 80), dtype=np.float32)
    depth[17, 33] = 3.0
    panel = depth_panel(depth, width=20)
    assert (panel == (253, 231, 37)).all(axis=2).any()


def test_point_lands_on_its_pixel_and_near_covers_far():
    points = np.array([[0, 0, 60.0], [0, 0, 4.0], [0, 0, -5.0]])
    panel = points_panel(points, np.eye(4), IDENTITY, (21, 21), width=21)
    colour = DEPTH_SCALE.colours(DEPTH_SCALE.levels(np.array(4.0)))
    assert tuple(panel[10, 10]) == tuple(colour)
    assert tuple(panel[3, 3]) == NO_RETURN


def test_no_points_are_an_empty_panel():
    panel = points_panel(np.zeros((0, 4)), np.eye(4), IDENTITY, (20, 20), width=20)
    assert (panel == NO_RETURN).all()


@pytest.mark.parametrize(
    ("status", "colour"),
    [("correct", GREEN), ("false", VERMILLION), ("missed", YELLOW)],
)
def test_box_edges_have_the_colour_of_their_status(status, colour):
    image = np.full((60, 80, 3), 60, dtype=np.uint8)
    layer = BoxLayer(boxes([20, 20, 60, 50]), status, tagged=False)
    drawn = draw_boxes(image, [layer])
    distance = np.abs(drawn[48:52, 20:60].astype(int) - colour).sum(axis=2)
    assert distance.min() < 30
    assert (drawn[30:40, 30:50] == 60).all()


def test_dashed_box_has_gaps_where_the_solid_one_has_none():
    image = np.full((60, 80, 3), 60, dtype=np.uint8)

    def painted(status):
        layer = BoxLayer(boxes([10, 20, 70, 50]), status, tagged=False)
        line = draw_boxes(image, [layer])[49, 15:65].astype(int)
        return np.abs(line - BOX_STYLES[status].colour).sum(axis=1) < 60

    assert painted("correct").all()
    assert 0.4 < painted("false").mean() < 0.9
    assert 0.2 < painted("missed").mean() < 0.8


def test_tags_do_not_cover_each_other():
    image = np.full((100, 200, 3), 60, dtype=np.uint8)
    same = boxes(*[[50, 40, 120, 80]] * 8, scores=[0.5] * 8)
    drawn = draw_boxes(image, [BoxLayer(same, "correct")])
    assert drawn.shape == image.shape


@pytest.mark.parametrize("status", ["wrong", ["correct"], ["correct", "wrong"]])
def test_bad_status_is_refused(status):
    layer = BoxLayer(boxes([1, 1, 5, 5], [2, 2, 6, 6]), status)
    with pytest.raises(ValueError, match="status must be"):
        draw_boxes(np.zeros((9, 9, 3), np.uint8), [layer])


def test_unknown_or_hidden_3d_boxes_are_not_drawn(make_frame):
    image = np.zeros((48, 96, 3), np.uint8)
    layer = BoxLayer(boxes([1, 1, 5, 5]))
    assert not draw_boxes_3d(image, [layer], IDENTITY).any()
    behind = make_frame().objects
    behind.location_m[:, 2] = -20
    assert not draw_boxes_3d(image, [BoxLayer(behind)], IDENTITY).any()


def test_3d_box_around_the_camera_is_cut(make_frame):
    around = make_frame(count=1).objects
    around.location_m[:] = 0, 0.8, 1
    drawn = draw_boxes_3d(np.zeros((48, 96, 3), np.uint8), [BoxLayer(around)], IDENTITY)
    assert drawn.any()


@given(height=st.integers(8, 70), width=st.integers(8, 70), target=st.integers(8, 120))
@settings(max_examples=25, deadline=None)
def test_any_size_and_no_input_changes(height, width, target):
    rng = np.random.default_rng(height * 100 + width)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    depth = rng.uniform(0, 90, (height, width)).astype(np.float32)
    objects = boxes(
        [-5, 2, width + 9, height], [3, 3, 3, 3], names=["Käfer", "行人"], scores=[1, 0]
    )
    image.setflags(write=False)
    depth.setflags(write=False)
    objects.boxes_px.setflags(write=False)
    layers = [BoxLayer(objects, ["correct", "missed"])]
    for panel in (
        image_panel(image, width=target, layers=layers, title="Straße · ε"),
        depth_panel(depth, width=target, title="depth"),
        draw_boxes(image, layers, scale=1.0),
    ):
        assert panel.ndim == 3 and panel.dtype == np.uint8
    assert image_panel(image, width=target).shape[1] == target


def test_raster_panels_one_a_channel_or_one_picture():
    raster = np.zeros((2, 10, 20), np.float32)
    raster[:, 4, 7] = 3.0, 1.0
    panels = raster_panels(raster, LIDAR, width=20)
    assert len(panels) == 2
    assert (panels[1][-6, 7] == (253, 231, 37)).all()
    assert tuple(panels[0][-1, 0]) == NO_RETURN
    picture = np.full((3, 10, 20), 90.0)
    (panel,) = raster_panels(picture, CAMERA, width=20, title="")
    assert (panel == 90).all()


def test_raster_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"must be \(3, H, W\), got \(2, 4, 4\)"):
        raster_panels(np.zeros((2, 4, 4)), CAMERA, width=8)


def test_difference_has_its_sign_and_unit():
    clean = np.full((3, 8, 8), 100.0)
    attacked = clean.copy()
    attacked[0, 2, 3] += 8
    attacked[2, 5, 6] -= 8
    panel = difference_panel(clean, attacked, CAMERA, width=8, limit=8, title="")
    assert panel[2, 3].tolist() == [255, 219, 140]
    assert panel[5, 6].tolist() == [178, 224, 255]
    assert tuple(panel[0, 0]) == NO_RETURN
    assert (clean == 100).all()


def test_difference_shows_the_first_channel_that_changed():
    clean = np.zeros((2, 8, 8))
    attacked = clean.copy()
    attacked[1, 4, 4] = 0.5
    panel = difference_panel(clean, attacked, LIDAR, width=8, title="")
    assert (panel[4, 4] != NO_RETURN).any()
    forced = difference_panel(
        clean, attacked, LIDAR, width=8, channel="depth_m", title=""
    )
    assert (forced == NO_RETURN).all()


def test_lone_negative_change_survives_shrinking():
    clean = np.zeros((2, 40, 80))
    attacked = clean.copy()
    attacked[0, 17, 33] = -5
    panel = difference_panel(clean, attacked, LIDAR, width=20, title="")
    assert (panel.astype(int)[..., 2] > 200).any()


@pytest.mark.parametrize(
    ("shape", "channel", "message"),
    [((2, 8, 9), None, "attacked"), ((2, 8, 8), "speed", "no channel 'speed'")],
)
def test_bad_difference_is_refused(shape, channel, message):
    with pytest.raises(ValueError, match=message):
        difference_panel(
            np.zeros((2, 8, 8)), np.zeros(shape), LIDAR, width=8, channel=channel
        )
