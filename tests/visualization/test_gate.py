"""The gate's bars and maps show the probabilities they are given."""

import numpy as np
import pytest

from perception.visualization.gate import gate_map_panel, gate_panel, sensor_legend
from perception.visualization.palette import sensor_colour

NAMES = ["camera", "lidar", "depth"]


def bar_length(panel, name):
    return (panel == sensor_colour(name)).all(axis=2).sum(axis=1).max()


def test_bars_are_as_long_as_their_probability():
    panel = gate_panel(np.array([0.2, 0.4, 0.1, 0.3]), NAMES, width=500)
    lengths = [bar_length(panel, name) for name in [*NAMES, "none"]]
    assert np.array(lengths) / lengths[0] == pytest.approx([1, 2, 0.5, 1.5], abs=0.05)


@pytest.mark.parametrize("names", [["a", "b"], ["cam", "lidar", "radar", "thermal é"]])
def test_any_sensors(names):
    values = np.full(len(names) + 1, 1 / (len(names) + 1))
    panel = gate_panel(
        values, names, width=300, clean=values, attacked=names[0], title="gate"
    )
    assert panel.shape[1] == 300
    assert sensor_legend(names, 120, text_px=12).shape[1] == 120


def test_values_out_of_range_are_clipped():
    panel = gate_panel(np.array([np.nan, 5.0, -1.0]), ["a", "b"], width=60)
    assert panel.shape[1] == 60


@pytest.mark.parametrize("shape", [(3,), (), (5,)])
def test_wrong_number_of_probabilities_is_refused(shape):
    with pytest.raises(ValueError, match="gate must have 4 probabilities"):
        gate_panel(np.zeros(shape), NAMES, width=100)


def test_map_is_grey_where_nobody_is_blamed_and_tinted_elsewhere():
    image = np.full((20, 40, 3), (200, 100, 50), np.uint8)
    gate = np.zeros((4, 2, 4), np.float32)
    gate[3, :, :2] = 1
    gate[1, :, 2:] = 1
    panel = gate_map_panel(gate, NAMES, image, width=40)
    assert (panel[:, :20] == panel[:, :20, :1]).all()
    red, _, blue = panel[10, 30].astype(int)
    assert red - blue > 100


def test_map_of_another_rank_is_refused():
    with pytest.raises(ValueError, match=r"gate map must be \(S \+ 1, h, w\)"):
        gate_map_panel(np.zeros((4, 2)), NAMES, np.zeros((4, 4, 3)), width=9)
