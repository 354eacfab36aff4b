"""The gate's bars and maps show the probabilities they are given."""

import numpy as np
import pytest

from perception.visualization.canvas import text_px_for
from perception.visualization.gate import gate_map_panel, gate_panel, sensor_legend
from perception.visualization.gate_state import gate_state, state_band, state_text
from perception.visualization.palette import IN_DOUBT, YELLOW, sensor_colour
from perception.visualization.sheet import titled

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


# --- doubt ----------------------------------------------------------------------------

NOBODY_BLAMED = np.array([0.3, 0.1, 0.1, 0.5])
LIDAR_BLAMED = np.array([0.1, 0.8, 0.0, 0.1])


@pytest.mark.parametrize(
    ("gate", "doubt", "state", "words"),
    [
        (NOBODY_BLAMED, -0.2, "none", "trusts all"),
        (NOBODY_BLAMED, 0.0, "none", "trusts all"),
        (NOBODY_BLAMED, 0.2, "in doubt", "in doubt: some sensor lies"),
        (LIDAR_BLAMED, 2.0, "lidar", "blames lidar"),
        (LIDAR_BLAMED, -2.0, "lidar", "blames lidar"),
    ],
)
def test_state_of_a_frame(gate, doubt, state, words):
    assert gate_state(gate, NAMES, doubt) == state
    assert state_text(state) == words


@pytest.mark.parametrize(("gate", "doubt"), [(NOBODY_BLAMED, None), (None, 1.0)])
def test_without_gate_or_doubt_there_is_no_state(gate, doubt):
    assert gate_state(gate, NAMES, doubt) is None


def test_any_sensor_can_be_blamed():
    names = ["thermal é", "sonar"]
    assert gate_state(np.array([0.2, 0.7, 0.1]), names, 1.0) == "sonar"
    assert state_band("thermal é", 30, text_px=12).shape[1] == 30


@pytest.mark.parametrize("title", ["", "gate"])
def test_state_stands_above_the_bars_which_stay_as_they_are(title):
    def panel(**more):
        return gate_panel(NOBODY_BLAMED, NAMES, width=400, title=title, **more)

    plain, doubtful, trusting = panel(), panel(doubt=0.5), panel(doubt=-0.5)
    bars = len(panel()) - (len(titled_strip(title)) if title else 0)
    np.testing.assert_array_equal(doubtful[-bars:], plain[-bars:])
    np.testing.assert_array_equal(trusting[-bars:], plain[-bars:])
    assert len(doubtful) > len(plain)
    assert bar_length(doubtful, IN_DOUBT) == 400 > bar_length(trusting, IN_DOUBT) == 0
    assert bar_length(trusting, "none") == 400 > bar_length(plain, "none")


def titled_strip(title):
    nothing = np.zeros((0, 400, 3), np.uint8)
    return titled(nothing, title, text_px=text_px_for(400))


def test_band_tells_the_clean_state_where_there_is_space():
    alone = state_band(IN_DOUBT, 400, text_px=12)
    both = state_band(IN_DOUBT, 400, text_px=12, clean="none")
    assert (alone[:, 0] == YELLOW).all()
    np.testing.assert_array_equal(both[:, :200], alone[:, :200])
    assert (both[:, 200:] != alone[:, 200:]).any()
    narrow = [state_band(IN_DOUBT, 200, text_px=12, clean=c) for c in (None, "none")]
    np.testing.assert_array_equal(*narrow)


def test_drawing_a_state_changes_no_input():
    gate, clean = NOBODY_BLAMED.copy(), LIDAR_BLAMED.copy()
    gate_panel(gate, NAMES, width=300, clean=clean, doubt=1.0, clean_doubt=1.0)
    np.testing.assert_array_equal(gate, NOBODY_BLAMED)
    np.testing.assert_array_equal(clean, LIDAR_BLAMED)
