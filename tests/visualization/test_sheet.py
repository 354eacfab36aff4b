"""Composition: sizes add up and nothing is cut off unasked."""

import numpy as np
import pytest

from perception.visualization.canvas import new_canvas
from perception.visualization.palette import BOX_STYLES, ColourScale, sensor_colour
from perception.visualization.sheet import (
    body_width,
    box_legend,
    column_widths,
    gap_px,
    grid,
    paint_colour_bar,
    placeholder,
    row,
    stack,
    titled,
    titled_sheet,
)


def panel(height, width, value=10):
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize(("width", "columns"), [(1000, 3), (101, 2), (50, 1)])
def test_columns_fill_the_width(width, columns):
    assert sum(column_widths(width, columns, 12)) + 12 * (columns - 1) == width


def test_row_and_stack_place_their_parts():
    beside = row([panel(4, 5), panel(6, 3, 20)], gap=2)
    assert beside.shape == (6, 10, 3)
    assert (beside[:, 7:] == 20).all() and (beside[:, 5:7] == 255).all()
    above = stack([panel(4, 5), panel(2, 8, 20)], gap=1)
    assert above.shape == (7, 8, 3)
    assert (above[5:] == 20).all() and (above[:4, 5:] == 255).all()


def test_titled_strips_are_equally_high_with_and_without_a_bar():
    plain = titled(panel(30, 500), "title", text_px=16)
    barred = titled(
        panel(30, 500), "title", text_px=16, scale=ColourScale(0, 1, "m"), note="note"
    )
    assert plain.shape == barred.shape
    assert (barred[-30:] == 10).all()


@pytest.mark.parametrize("width", [1, 8, 40, 120])
def test_titles_shorten_on_narrow_panels(width):
    strip = titled(
        panel(8, width),
        "a very long title indeed",
        text_px=16,
        scale=ColourScale(0, 1, "m"),
        note="and a note",
        swatch=(1, 2, 3),
    )
    assert strip.shape[1] == width


def test_grid_labels_rows_in_their_sensors_colour():
    sheet = grid(
        [[panel(60, 80)] * 2, [panel(60, 80)] * 2], labels=["lidar", "x"], text_px=16
    )
    assert tuple(sheet[0, 0]) == sensor_colour("lidar")
    assert tuple(sheet[-1, 0]) == sensor_colour("x")
    assert sheet.shape[0] == 120 + gap_px(16)


def test_grid_wants_a_label_for_each_row():
    with pytest.raises(ValueError, match="zip"):
        grid([[panel(9, 9)]], labels=["a", "b"], text_px=12)


def test_legend_wraps_instead_of_cutting():
    wide = box_legend(list(BOX_STYLES), 1200, text_px=16)
    narrow = box_legend(list(BOX_STYLES), 200, text_px=16)
    assert narrow.shape[0] > wide.shape[0]


@pytest.mark.parametrize("width", [320, 1600, 2001])
def test_sheet_has_its_width_whatever_the_body(width):
    for body in (panel(50, body_width(width)), panel(50, 9), panel(50, width + 99)):
        sheet = titled_sheet(body, "title ε", width=width, subtitle="subtitle" * 40)
        assert sheet.shape[1] == width
        assert (sheet[:, -1] == 255).all()


def test_placeholder_carries_its_message():
    assert placeholder(40, 300, "no data", text_px=16).max() > 150


@pytest.mark.parametrize("box", [(5, 1, 60, 8), (0, 0, 1, 1), (-9, -9, 200, 90)])
def test_colour_bar_stays_on_its_canvas(box):
    canvas = new_canvas(30, 90)
    paint_colour_bar(canvas, ColourScale(0, 1, "m"), box, 10)
    assert canvas.shape == (30, 90, 3)


def test_colour_bar_runs_from_low_to_high():
    canvas = new_canvas(40, 90)
    paint_colour_bar(canvas, ColourScale(0, 1, "m"), (5, 1, 60, 8), 10)
    assert tuple(canvas[4, 5]) == (68, 1, 84)
    assert tuple(canvas[4, 59]) == (253, 231, 37)
