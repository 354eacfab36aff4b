"""Sheets: columns fill from the top, text fits, and drawing repeats itself."""

import warnings

import numpy as np
import pytest
from PIL import Image

from perception.core.structures import DataError
from perception.visualization.sheet import Area, Sheet, write_picture
from perception.visualization.style import (
    BOX_STYLES,
    FAINT_INK,
    GREEN,
    INK,
    ColourScale,
    sensor_colour,
    shorten,
    text_width,
)


def panel(height, width, value=10):
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize(("width", "count"), [(1000, 3), (321, 2), (400, 1)])
def test_columns_fill_the_width(width, count):
    sheet = Sheet(width)
    columns = sheet.body.split(count)
    assert sum(c.width for c in columns) + sheet.gap * (count - 1) == sheet.body.width
    assert columns[-1].x + columns[-1].width == width - sheet.gap
    left, right = sheet.body.shares(0.6)
    assert right.x + right.width == width - sheet.gap
    assert right.x == left.x + left.width + sheet.gap


def test_columns_stand_side_by_side_and_the_lowest_counts():
    sheet = Sheet(400, margin=0)
    left, right = sheet.body.split(2)
    left.picture(panel(40, 50))
    right.picture(panel(60, 30, 20))
    sheet.body.join([left, right])
    assert sheet.body.y == 60
    picture = sheet.rendered(sheet.body.y)
    assert (picture[:40, :50] == 10).all()
    assert (picture[:60, right.x : right.x + 30] == 20).all()
    assert (picture[40:, :100] == 255).all()


def test_strips_are_equally_high_with_and_without_a_bar():
    ends = []
    for scale in (None, ColourScale(0, 1, "m")):
        column = Sheet(500).body
        column.title("title", scale=scale, note="note" if scale else "")
        ends.append(column.y)
    assert ends[0] == ends[1]


@pytest.mark.parametrize("width", [1, 8, 40, 120])
def test_titles_shorten_on_narrow_columns(width):
    sheet = Sheet(width, margin=0)
    scale = ColourScale(0, 1, "m")
    words = {"note": "and a note", "keys": [("added", GREEN)], "swatch": (1, 2, 3)}
    sheet.body.title("a very long title indeed", scale=scale, **words)
    assert sheet.rendered(sheet.body.y).shape[1] == width


def test_words_that_explain_colours_go_before_the_colour_bar():
    for width, barred in ((420, False), (1600, True)):
        sheet = Sheet(width)
        keys = [("12,650 added", GREEN), ("36 removed", INK)]
        sheet.body.title("attacked", keys=keys, scale=ColourScale(0, 1, "m"))
        strip = sheet.rendered(sheet.body.y)
        assert (strip == GREEN).all(axis=2).any()
        assert (strip == (253, 231, 37)).all(axis=2).any() == barred


def test_colour_bar_runs_from_low_to_high():
    sheet = Sheet(1000, margin=0)
    sheet.body.title("title", scale=ColourScale(0, 1, "m"))
    strip = sheet.rendered(sheet.body.y)
    row = strip[5]
    (frame,) = np.nonzero((row == FAINT_INK).all(axis=1))
    low, high = frame[0] + 1, frame[-1] - 1
    assert tuple(row[low]) == (68, 1, 84) and tuple(row[high]) == (253, 231, 37)


def test_legend_wraps_instead_of_cutting():
    ends = []
    for width in (1200, 200):
        column = Sheet(width, margin=0).body
        column.box_legend(list(BOX_STYLES))
        ends.append(column.y)
    assert ends[1] > ends[0]


@pytest.mark.parametrize("status", list(BOX_STYLES))
def test_legend_shows_each_style_in_its_colour(status):
    sheet = Sheet(400, margin=0)
    sheet.body.box_legend([status])
    legend = sheet.rendered(sheet.body.y).astype(int)
    assert (np.abs(legend - BOX_STYLES[status].colour).sum(axis=2) < 30).any()


def test_facts_wrap_and_none_take_no_room():
    column = Sheet(400).body
    start = column.y
    column.facts([])
    assert column.y == start
    column.facts([("name", "value")])
    line = column.y - start
    column.facts([("name", "value " * 5)] * 4)
    assert column.y - start >= 4 * line


@pytest.mark.parametrize("width", [320, 1600, 2001])
def test_sheet_has_its_width_whatever_it_is_told(width):
    sheet = Sheet(width)
    sheet.body.headline("title ε", "subtitle" * 40)
    sheet.paste(width - 20, 0, panel(50, 99, 0))
    picture = sheet.rendered(60)
    assert picture.shape == (60, width, 3) and picture.dtype == np.uint8


def test_lines_stay_within_their_clip():
    sheet = Sheet(400, margin=0)
    area = sheet.paste(100, 20, panel(40, 60))
    line = np.array([[0.0, 40], [400, 40]])
    sheet.lines([line], BOX_STYLES["correct"], clip=area)
    picture = sheet.rendered(80)
    assert tuple(picture[40, 130]) == GREEN
    assert (picture[:, :100] == 255).all() and (picture[:, 160:] == 255).all()
    sheet.lines(
        [np.full((2, 2), np.nan), np.array([[0, 0], [np.inf, 9]])], BOX_STYLES["false"]
    )
    np.testing.assert_array_equal(sheet.rendered(80), picture)


def test_shortened_text_fits():
    text = "consensus_robust.safetensors"
    for width in (0, 5, 60, 100, 400):
        cut = shorten(text, width, 16, bold=True)
        assert text_width(cut, 16, bold=True) <= max(width, 0)
        assert cut == text or cut.endswith("…") or not cut
    assert shorten(text, 400, 16) == text


@pytest.mark.parametrize(
    "text", ["$x^2$ \\frac", "<b>\x00\n%s", "行人 Käfer ✓", "", "a" * 3000]
)
def test_any_text_is_set_as_it_is_without_a_warning(text):
    sheet = Sheet(400)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sheet.body.title(text, note=text)
        sheet.body.headline(text, text)
        sheet.body.facts([(text[:20], text)])
        sheet.body.legend([(text[:20], GREEN)])
        assert sheet.rendered(sheet.body.y).shape[1] == 400


def test_drawing_repeats_itself():
    def draw():
        sheet = Sheet(640)
        sheet.body.headline("title", "subtitle")
        sheet.body.title("panel", scale=ColourScale(-1, 1, "m", "diverging"))
        sheet.fill(Area(9, 9, 30, 30), sensor_colour("lidar"), alpha=0.5)
        return sheet.rendered(200)

    np.testing.assert_array_equal(draw(), draw())


@pytest.mark.parametrize("name", ["x.png", "x.webp"])
def test_pictures_are_written_whole_or_not_at_all(tmp_path, name):
    write_picture(tmp_path / "new" / name, panel(8, 9, 77))
    with Image.open(tmp_path / "new" / name) as picture:
        assert picture.size == (9, 8)
        assert abs(picture.convert("RGB").getpixel((4, 4))[0] - 77) < 4
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(DataError, match="cannot write"):
        write_picture(blocked / name, panel(8, 9))
