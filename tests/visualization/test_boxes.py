"""2D and 3D boxes over a picture: colours, dashes, tags, and what is not drawn."""

import numpy as np
import pytest
from scene_makers import drawn, sheet_over

from perception.core.structures import Calibration, Objects
from perception.visualization.boxes import BoxLayer, draw_boxes, draw_boxes_3d
from perception.visualization.style import BOX_STYLES, GREEN, VERMILLION, YELLOW

IDENTITY = Calibration(np.array([[10.0, 0, 10, 0], [0, 10, 10, 0], [0, 0, 1, 0]]))


def boxes(*rows, names=None, scores=None):
    names = names or ["Car"] * len(rows)
    scores = None if scores is None else np.array(scores)
    return Objects.from_boxes(np.array(names, dtype=object), np.array(rows), scores)


@pytest.mark.parametrize(
    ("status", "colour"),
    [("correct", GREEN), ("false", VERMILLION), ("missed", YELLOW)],
)
def test_box_edges_have_the_colour_of_their_status(status, colour):
    image = np.full((60, 80, 3), 60, dtype=np.uint8)
    layer = BoxLayer(boxes([20, 20, 60, 50]), status, tagged=False)
    picture = drawn(image, draw_boxes, [layer])
    distance = np.abs(picture[48:52, 20:60].astype(int) - colour).sum(axis=2)
    assert distance.min() < 30
    assert (picture[30:40, 30:50] == 60).all()


def test_dashed_box_has_gaps_where_the_solid_one_has_none():
    image = np.full((60, 80, 3), 60, dtype=np.uint8)

    def painted(status):
        layer = BoxLayer(boxes([10, 20, 70, 50]), status, tagged=False)
        line = drawn(image, draw_boxes, [layer])[49, 15:65].astype(int)
        return np.abs(line - BOX_STYLES[status].colour).sum(axis=1) < 60

    assert painted("correct").all()
    assert 0.4 < painted("false").mean() < 0.9
    assert 0.2 < painted("missed").mean() < 0.8


def tags(image, *layers):
    """The rectangles of the tags, x1, y1, x2, y2."""
    sheet, area = sheet_over(image)
    filled, fill = [], sheet.fill

    def spy(place, *args, **kwargs):
        filled.append((*place[:2], place[0] + place[2], place[1] + place[3]))
        fill(place, *args, **kwargs)

    sheet.fill = spy
    draw_boxes(sheet, area, layers)
    return np.array(filled)


def test_tags_touch_neither_each_other_nor_the_edge():
    image = np.full((300, 800, 3), 60, dtype=np.uint8)
    same = boxes(*[[350, 100, 420, 180]] * 3, [0, 0, 90, 60], scores=[0.5] * 4)
    places = tags(image, BoxLayer(same, "correct"))
    assert len(places) == 4
    assert places.min() >= 0 and (places[:, 2:] <= [800, 300]).all()
    for n, one in enumerate(places):
        for other in places[n + 1 :]:
            apart = (one[:2] >= other[2:]) | (one[2:] <= other[:2])
            assert apart.any()


def test_a_tag_hides_no_other_box_where_it_can_be_helped():
    image = np.full((300, 800, 3), 60, dtype=np.uint8)
    two = boxes([300, 150, 400, 250], [300, 90, 400, 146], scores=[0.5, 0.5])
    below, above = tags(image, BoxLayer(two, "correct"))
    assert below[1] >= 250 and above[3] <= 90


def test_a_crowd_of_missed_labels_goes_without_tags():
    image = np.full((300, 800, 3), 60, dtype=np.uint8)
    crowd = [[x, y, x + 60, y + 40] for x in range(300, 420, 8) for y in (80, 110, 140)]
    assert len(tags(image, BoxLayer(boxes(*crowd), "missed"))) < len(crowd) / 2


@pytest.mark.parametrize("status", ["wrong", ["correct"], ["correct", "wrong"]])
def test_bad_status_is_refused(status):
    layer = BoxLayer(boxes([1, 1, 5, 5], [2, 2, 6, 6]), status)
    with pytest.raises(ValueError, match="status must be"):
        drawn(np.zeros((9, 9, 3), np.uint8), draw_boxes, [layer])


def test_unknown_or_hidden_3d_boxes_are_not_drawn(make_frame):
    image = np.zeros((48, 96, 3), np.uint8)
    layer = BoxLayer(boxes([1, 1, 5, 5]))
    assert not drawn(image, draw_boxes_3d, [layer], IDENTITY).any()
    behind = make_frame().objects
    behind.location_m[:, 2] = -20
    layers = [BoxLayer(behind)]
    assert not drawn(image, draw_boxes_3d, layers, IDENTITY).any()


def test_3d_box_around_the_camera_is_cut(make_frame):
    around = make_frame(count=1).objects
    around.location_m[:] = 0, 0.8, 1
    image, layers = np.zeros((48, 96, 3), np.uint8), [BoxLayer(around)]
    assert drawn(image, draw_boxes_3d, layers, IDENTITY).any()
