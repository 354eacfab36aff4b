"""Primitives paint the pixels they should, and clip at the edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.visualization.canvas import (
    box_segments,
    dashes,
    new_canvas,
    paint_dots,
    paint_rectangle,
    paint_segments,
    paint_styled,
    paint_text,
    shorten,
    text_px_for,
    text_width,
)
from perception.visualization.palette import LineStyle

RED = (255, 0, 0)


def test_text_size_follows_the_sheet():
    assert text_px_for(1600) == 16
    assert text_px_for(3200) == 32
    assert text_px_for(100) == 9


def test_dashes_of_a_horizontal_line():
    strokes = dashes(np.array([[[0, 5], [20, 5]]]), 8, 4)
    assert strokes[:, :, 0].tolist() == [[0, 8], [12, 20]]
    assert (strokes[:, :, 1] == 5).all()


def test_last_dash_ends_with_its_segment():
    strokes = dashes(np.array([[[0, 0], [0, 15]]]), 8, 4)
    assert strokes[:, :, 1].tolist() == [[0, 8], [12, 15]]


def test_dashed_line_covers_strokes_and_leaves_gaps():
    canvas = new_canvas(11, 31, (0, 0, 0))
    style = LineStyle("", RED, dash_px=(8, 4), thickness_px=1, cased=False)
    paint_styled(canvas, np.array([[[0, 5], [30, 5]]]), style)
    painted = canvas[5, :, 0] > 128
    assert painted[[1, 4, 7, 13, 16, 19, 25, 28]].all()
    assert not painted[[10, 22]].any()
    assert not canvas[[0, 2, 8, 10]].any()


def test_solid_line_has_no_gap():
    canvas = new_canvas(11, 31, (0, 0, 0))
    paint_styled(canvas, np.array([[[0, 5], [30, 5]]]), LineStyle("", RED))
    assert (canvas[5, 1:-1, 0] > 200).all()


def test_dashes_of_nothing_and_of_a_point():
    assert dashes(np.zeros((0, 2, 2)), 2, 2).shape == (0, 2, 2)
    assert dashes(np.full((1, 2, 2), 3.0), 2, 2).tolist() == [[[3, 3], [3, 3]]]


def test_box_edges_go_clockwise():
    edges = box_segments(np.array([[1, 2, 5, 7]]))
    assert edges[:, 0].tolist() == [[1, 2], [5, 2], [5, 7], [1, 7]]
    assert edges[:, 1].tolist() == [[5, 2], [5, 7], [1, 7], [1, 2]]


def test_lines_far_outside_or_not_finite_are_harmless():
    canvas = new_canvas(8, 8)
    segments = np.array([[[np.nan, 0], [1, 1]], [[-1e12, 4], [1e12, 4]]])
    paint_segments(canvas, segments, RED, smooth=False)
    assert (canvas[4] == RED).all() and (canvas[2] == 255).all()


def test_later_dots_cover_earlier_ones():
    canvas = new_canvas(3, 3, (0, 0, 0))
    pixels = np.array([[1.0, 1.0], [1.2, 0.9], [-5, 0], [np.nan, 0]])
    paint_dots(canvas, pixels, np.array([RED, (0, 9, 0), RED, RED]))
    assert tuple(canvas[1, 1]) == (0, 9, 0)
    assert canvas.any(axis=2).sum() == 1


def test_dot_of_two_pixels():
    canvas = new_canvas(4, 4, (0, 0, 0))
    paint_dots(canvas, np.array([[1.5, 1.5]]), np.array([RED]), 2)
    assert canvas[1:3, 1:3, 0].all() and canvas[..., 0].astype(bool).sum() == 4


def test_rectangle_blends_and_clips():
    canvas = new_canvas(4, 4, (0, 0, 0))
    paint_rectangle(canvas, (-3, 2, 2, 9), (200, 100, 0), alpha=0.5)
    assert canvas[3, 0].tolist() == [100, 50, 0]
    assert not canvas[:2].any() and not canvas[:, 2:].any()


TEXTS = ["Car 0.87", "ε = 0.3 m · L∞ −1", "行人 🚗", "a\nb\tc\0", "\ud800", ""]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("xy", [(2, 2), (-30, -5), (500, 1), (1, 500)])
def test_any_text_anywhere(text, xy):
    canvas = new_canvas(24, 90)
    paint_text(canvas, text, xy, 13, (0, 0, 0))
    assert canvas.shape == (24, 90, 3)
    if text == "Car 0.87" and xy == (2, 2):
        assert canvas.min() < 40 and (canvas[:2] == 255).all()


def test_text_anchors():
    left, right = new_canvas(20, 80), new_canvas(20, 80)
    paint_text(left, "abc", (10, 0), 14)
    end = 10 + text_width("abc", 14)
    paint_text(right, "abc", (end, 0), 14, anchor=1.0)
    assert (left == right).all()


@given(text=st.text(max_size=40), width=st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_shortened_text_fits(text, width):
    short = shorten(text, width, 12)
    assert text_width(short, 12) <= width
    assert short == text or short == "" or short.endswith("…")
