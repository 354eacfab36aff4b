"""Points without a height: drawn as upright lines."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.attacks.threats.splat import View, splat
from perception.core.structures import Channel, SensorSpec
from perception.models.rasterize import draw_points, pillars

COLUMNS = ("x", "y", "z", "velocity_mps", "rcs_dbsm")
CHANNELS = ("depth_m", "velocity_mps", "rcs_dbsm")
PILLAR_M = (-1.0, 1.0)
# x forward, y left, z up to pixels: 10 px focal length, centre at column 8, row 10.
PROJECTION = torch.tensor(
    [[8.0, -10.0, 0.0, 0.0], [10.0, 0.0, -10.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
)
SIZE = (21, 17)
SPEC = SensorSpec(
    "radar",
    "points",
    tuple(Channel(name, "", -100.0, 100.0) for name in CHANNELS),
    COLUMNS,
    PILLAR_M,
)
VIEW = View(SPEC, PROJECTION, SIZE, SIZE)


def draw(points):
    return draw_points(torch.as_tensor(points), SPEC, PROJECTION, SIZE)


@pytest.mark.parametrize("height_m", [-0.3, 0.0, 5.0])
def test_a_point_becomes_a_line_from_low_to_high_whatever_its_height(height_m):
    image = draw([[5.0, 1.0, height_m, -3.0, 12.0]])
    # 10 px * 1 m / 5 m = 2 px up and down from row 10, column 8 - 2.
    expected = torch.zeros(3, *SIZE)
    expected[:, 8:13, 6] = torch.tensor([5.0, -3.0, 12.0])[:, None]
    torch.testing.assert_close(image, expected)


def test_the_nearer_line_hides_the_lower_part_of_the_farther():
    image = draw([[10.0, 0.0, 0.0, 1.0, 1.0], [5.0, 0.0, 0.0, 2.0, 2.0]])
    assert image[0, :, 8].tolist() == [0.0] * 8 + [5.0] * 5 + [0.0] * 8


@settings(max_examples=50, deadline=None)
@given(x=st.floats(1.0, 90.0), y=st.floats(-20.0, 20.0), low=st.floats(-3, 0.5))
def test_lines_have_no_gap(x, y, low):
    points = torch.tensor([[x, y, 0.0, 0.0, 0.0]])
    stand_ins, index = pillars(points, PROJECTION, SIZE, (low, 1.0))
    assert (index == 0).all()
    rows = 10 - 10 * stand_ins[:, 2] / x
    assert (rows[:-1] - rows[1:]).abs().le(1 + 1e-4).all()
    column = 8 - 10 * y / x
    if -1 < column < SIZE[1]:
        np.testing.assert_allclose(rows[0], 10 - 10 * low / x, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(rows[-1], 10 - 10 / x, rtol=1e-5, atol=1e-4)
    else:
        assert len(index) <= 23  # at the margin, or a single one


def test_points_behind_or_beside_are_not_multiplied():
    points = torch.tensor(
        [[-5.0, 0.0, 0, 0, 0], [5.0, 40.0, 0, 0, 0], [0.0, 0.0, 0, 0, 0]]
    )
    stand_ins, index = pillars(points, PROJECTION, SIZE, PILLAR_M)
    assert index.tolist() == [0, 1, 2]
    assert stand_ins.isfinite().all()
    assert not draw(points).any()


def test_no_points():
    assert draw(torch.zeros(0, 5)).shape == (3, *SIZE)


def test_every_row_of_the_line_carries_a_gradient_to_the_point():
    points = torch.tensor([[5.0, 1.0, 0.0, -3.0, 12.0]], requires_grad=True)
    draw(points).sum().backward()
    # Five rows show its depth (x), velocity and cross-section; z is not looked at.
    assert points.grad.tolist() == [[5.0, 0.0, 0.0, 5.0, 5.0]]


def test_attacked_points_are_drawn_bit_for_bit_as_the_detector_sees_them():
    rng = np.random.default_rng(0)
    cloud = rng.uniform([2, -8, 0, -9, -9], [60, 8, 0, 9, 30], (50, 5))
    points = torch.as_tensor(cloud, dtype=torch.float32).requires_grad_()
    score = torch.linspace(-1, 1, 50, requires_grad=True)
    image = splat(points, VIEW, score)
    assert torch.equal(image, draw(points[score > 0]))
    (image * torch.linspace(0, 1, SIZE[1])).sum().backward()
    # Straight through, the column that a line falls into and its presence count, too.
    assert points.grad[:, 1].any()
    assert score.grad.any()


def test_a_score_counts_once_for_the_whole_line():
    points = torch.tensor([[5.0, 0.0, 0.0, 2.0, 0.0]])
    score = torch.ones(1, requires_grad=True)
    splat(points, VIEW, score)[1].sum().backward()
    # Without the point five pixels lose a velocity of 2 m/s; where two stand-ins share
    # a pixel, one of them shows.
    np.testing.assert_allclose(score.grad, [10.0], rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "pillar_m"),
    [("points", (1.0, -1.0)), ("depth", (-1.0, 1.0))],
    ids=["upside down", "not points"],
)
def test_impossible_pillars(kind, pillar_m):
    with pytest.raises(ValueError, match="pillar_m is"):
        SensorSpec("radar", kind, SPEC.channels, COLUMNS, pillar_m)


def test_pillars_from_a_config():
    config = {
        "kind": "points",
        "columns": list(COLUMNS),
        "channels": [("depth_m", "m", 0.0, 100.0)],
        "pillar_m": [-0.5, 1.5],
    }
    assert SensorSpec.from_config("radar", config).pillar_m == (-0.5, 1.5)
