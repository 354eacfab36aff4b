"""Angles of several witnesses: by hand, and what one of them can do."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from tiny_detectors import NAMES, Said

from perception.models import ConsensusAggregator, MedianAggregator
from perception.models.consensus.directions import (
    arc_bounds,
    circular_median,
    turned,
    turns,
)
from perception.models.consensus.gate import Verdict

SENSORS = NAMES[:3]
NEVER = dict(attribution_threshold=1e9, alarm_threshold=1e9)


def vectors(*degrees: float) -> torch.Tensor:
    """(S, 1, 2, 1, 1), double precision: one location of one frame."""
    angle = torch.tensor([math.radians(x) for x in degrees], dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()], dim=1)[:, None, :, None, None]


def degrees(direction: torch.Tensor) -> float:
    x, y = direction.flatten().tolist()
    return math.degrees(math.atan2(y, x))


@pytest.mark.parametrize(
    "said, expected",
    [
        ((10, 20, 90), 20),
        ((170, -175, -170), -175),  # across half a turn
        ((0, 5, 180), 5),  # 5 + 175 degrees from the others, and not 5 + 180
        ((math.nan, 40, 50), 40),  # not a number says 0
    ],
)
def test_circular_median_by_hand(said, expected):
    assert degrees(circular_median(vectors(*said))[0]) == pytest.approx(expected)


def test_circular_median_without_one():
    said, gone = vectors(10, 20, 90, 95), torch.tensor([1])
    assert degrees(circular_median(said, gone)[0]) == pytest.approx(90)
    assert degrees(circular_median(said, torch.tensor([4]))[0]) == pytest.approx(20)


def test_turns_there_and_back():
    origin, there = vectors(170)[0], vectors(-170)[0]
    turn = turns(origin, there)
    assert math.degrees(turn.item()) == pytest.approx(20)
    torch.testing.assert_close(turned(origin, turn), there)


@pytest.mark.parametrize(
    "said, low, high",
    [
        ((-30, 60), (0.5, -0.5), (1, math.sqrt(3) / 2)),  # past 0
        ((150, -150), (-1, -0.5), (-math.sqrt(3) / 2, 0.5)),  # past pi
        ((60, 120), (-0.5, math.sqrt(3) / 2), (0.5, 1)),  # past a quarter
        ((0, 130), (-1, -1), (1, 1)),  # too wide
    ],
)
def test_arcs_by_hand(said, low, high):
    least, most = arc_bounds(vectors(*said))
    assert least.flatten().tolist() == pytest.approx(low, abs=1e-5)
    assert most.flatten().tolist() == pytest.approx(high, abs=1e-5)


def heads(direction: torch.Tensor):
    """Outputs of a head of metric boxes, of which only directions differ."""
    zero, metres = torch.zeros(1, 1, 1, 1), torch.zeros(1, 6, 1, 1)
    return ([zero], [zero], [zero], [metres.double()], [direction.double()])


ANGLES = st.floats(-180, 180)
LIES = ANGLES | st.just(math.nan)


def aggregator(kind):
    if kind == "median":
        return MedianAggregator(sensors=SENSORS).eval()
    return ConsensusAggregator(sensors=SENSORS, gate=NEVER).eval()


@pytest.mark.parametrize("kind", ["median", "consensus"])
@given(
    benign=st.tuples(ANGLES, st.floats(-118, 118), st.floats(-118, 118)),
    lies=st.lists(LIES, min_size=6, max_size=6),
    liar=st.integers(0, 2),
)
def test_whatever_one_sensor_says_the_angle_stays_within_bounds(
    kind, benign, lies, liar
):
    """Benign branches and the expert without the liar; all else is lies."""
    first, second, expert = benign[0], benign[0] + benign[1], benign[0] + benign[2]
    spread = max(0, benign[1], benign[2]) - min(0, benign[1], benign[2])
    assume(spread < 119)
    said = [first, second]
    said.insert(liar, lies[0])
    asked = [*lies[1:4]]
    asked[liar] = expert
    clean = [first, second]
    clean.insert(liar, first)
    made = aggregator(kind)

    def outputs(branches, experts):
        rows = [heads(x[None][0]) for x in vectors(*branches)]
        others = [heads(x[None][0]) for x in vectors(*experts)]
        return Said(rows, others, others[-1])

    low, high = made.bounds(outputs(clean, [*asked, first]), liar)
    attacked = outputs(said, [*asked, lies[4]])
    nobody = torch.tensor([3]) if kind == "consensus" else None
    answer = made.combine(Verdict(nobody), attacked)[4][0]
    assert (answer >= low[4][0]).all() and (answer <= high[4][0]).all()
    assert answer.norm() == pytest.approx(1)


def test_numbers_in_metres_have_intervals_and_no_margin():
    """Depths of 1, 2 and 9 with an answer of 5: the median's 2, whatever the margin."""
    made = MedianAggregator(sensors=SENSORS, margin=3.0, box_margin=0.5)

    def depth(value):
        levels = heads(vectors(0)[0])
        levels[3][0][:, 2] = value
        return levels

    said = Said([depth(1.0), depth(2.0), depth(9.0)], fused=depth(5.0))
    assert made.combine(Verdict(), said)[3][0][0, 2].item() == 2.0
    low, high = made.bounds(said, 2)
    assert (low[3][0][0, 2].item(), high[3][0][0, 2].item()) == (1.0, 2.0)


@pytest.mark.parametrize("left_out", [0, 1, 2])
def test_without_the_one_left_out_the_others_span_the_arc(left_out):
    said = [vectors(x)[0] for x in (170.0, -170.0, 10.0)]
    told = Said([heads(x) for x in said], fused=heads(vectors(0.0)[0]))
    made = MedianAggregator(sensors=SENSORS)
    answer = made.combine(Verdict(torch.tensor([left_out])), told)[4][0]
    ends = [degrees(x) for n, x in enumerate(said) if n != left_out]
    assert any(degrees(answer) == pytest.approx(end) for end in ends)
