"""The charts of the report page, as the SVG that the page holds."""

import re
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from perception.evaluation.robustness.results import ConfusionRow
from perception.visualization.report.charts import (
    Bar,
    Point,
    bars_chart,
    gate_chart,
    legend_chart,
    lines_chart,
    top_of,
)
from perception.visualization.style import sensor_colour

NAMES = ("plain", "robust")
EVIL = "</text><script>alert('x')</script>\"'&"


PLAIN = [Point(0.0, 80.0), Point(0.25, 30.0), Point(1.0, 5.0)]
ROBUST = [Point(0.0, 78.0), Point(1.0, 55.0)]
BOTH = {"plain": PLAIN, "robust": ROBUST}


def lines(given, title="chart", **more):
    """A chart over three budgets."""
    ticks = {0.0: "clean", 0.25: "0.25×", 1.0: "1×"}
    more = {"top": 100.0, "ticks": ticks, "x_label": "budget"} | more
    return lines_chart(title, given, [*NAMES, *given], **more)


def test_points_say_what_they_are_and_lie_where_they_should():
    root = ElementTree.fromstring(lines(BOTH, levels={"robust": {"oracle": 66.0}}))
    told = [one.text for one in root.iter("title")]
    assert told == [
        "plain: 80.0 at clean",
        "plain: 30.0 at 0.25×",
        "plain: 5.0 at 1×",
        "robust: 78.0 at clean",
        "robust: 55.0 at 1×",
    ]
    marks = [
        group.find(".//use")
        for group in root.iter("g")
        if group.find("title") is not None
    ]
    xs, ys = ([float(mark.get(axis)) for mark in marks] for axis in "xy")
    assert (xs[1] - xs[0]) / (xs[2] - xs[0]) == pytest.approx(0.25)
    assert (ys[1] - ys[0]) / (ys[2] - ys[0]) == pytest.approx(50 / 75)
    texts = [one.text for one in root.iter("text")]
    assert {"clean", "0.25×", "1×", "budget", "100"} <= set(texts)
    assert "robust (oracle 66.0)" in texts


def test_detectors_look_different_and_the_same_in_every_chart():
    both, alone = lines(BOTH), lines({"robust": ROBUST})
    colours = re.findall(r"stroke: (\S+?);? ", both)
    assert "currentColor" in colours and "#d55e00" in colours
    assert "#d55e00" in alone and "stroke: currentColor" not in alone
    shapes = [
        re.search(r'<path id="\w+" d="(.*?)"', lines({n: PLAIN}))[1] for n in NAMES
    ]
    assert shapes[0] != shapes[1]
    assert "#d55e00" in legend_chart(NAMES) and "currentColor" in legend_chart(NAMES)


def test_texts_that_would_touch_are_left_out():
    ticks = {0.0: "clean", 0.01: "0.01×", 1.0: "1×"}
    root = ElementTree.fromstring(lines({"plain": PLAIN}, ticks=ticks))
    assert "0.01×" not in [one.text for one in root.iter("text")]


def test_bars_are_as_long_as_their_figures():
    bars = {"plain": [Bar("", 80.0, "80.0 clean"), Bar("lidar", 20.0, "20.0")]}
    root = ElementTree.fromstring(bars_chart("worst", bars, top=100.0))
    lidar = "#{:02x}{:02x}{:02x}".format(*sensor_colour("lidar"))
    lengths = {}
    for path in root.iter("path"):
        fill = path.get("style", "").removeprefix("fill: ")
        xs = [float(x) for x in re.findall(r"[ML] ([\d.]+)", path.get("d"))]
        lengths[fill] = max(xs) - min(xs)
    assert lengths["currentColor"] == pytest.approx(4 * lengths[lidar])


def test_intervals_are_drawn_and_said():
    """On the axis: 10 points of AP are as long in a whisker as between two marks."""
    given = {"plain": [Point(0.0, 80.0), Point(1.0, 60.0, (55.0, 65.0))]}
    root = ElementTree.fromstring(lines(given))
    assert [one.text for one in root.iter("title")] == [
        "plain: 80.0 at clean",
        "plain: 60.0 [55.0, 65.0] at 1×",
    ]
    marks = [float(one.get("y")) for one in root.iter("use") if one.get("x")]
    paths = [path.get("d") for path in root.iter("path") if path.get("d")]
    ends = [re.findall(r"[ML] ([\d.]+) ([\d.]+)", path) for path in paths]
    upright = [
        abs(float(points[0][1]) - float(points[1][1]))
        for points in ends
        if len(points) == 2 and points[0][0] == points[1][0]
    ]
    rise = abs(marks[1] - marks[0])  # then come the legend's
    assert any(length == pytest.approx(rise / 2, rel=1e-3) for length in upright)
    bars = {"plain": [Bar("lidar", 20.0, "20.0", (15.0, 25.0))]}
    assert bars_chart("worst", bars, top=100.0).count("var(--faint)") > bars_chart(
        "worst", {"plain": [Bar("lidar", 20.0, "20.0")]}, top=100.0
    ).count("var(--faint)")


def gate(*rows, sensors=("camera", "lidar")):
    """Texts and boxes of a gate's chart; a row is (sensor, counts, alarm)."""
    columns = (*sensors, "none")
    given = [
        ConfusionRow(sensor, dict(zip(columns, counts, strict=True)), alarm)
        for sensor, counts, alarm in rows
    ]
    root = ElementTree.fromstring(gate_chart("gate", sensors, given))
    boxes = [path.get("style") for path in root.iter("path")]
    boxes = [style for style in boxes if "opacity" in style]
    return [one.text for one in root.iter("text")], boxes


def test_gate_frames_the_right_answers():
    """Alarms of no sensor are a column of their own, half an answer if attacked."""
    texts, boxes = gate((None, (0, 0, 10), 1), ("lidar", (2, 5, 3), 3))
    assert texts[:5] == ["camera", "lidar", "unattributed", "no alarm", "frames"]
    shares = [text for text in texts if text.endswith(" %")]
    assert shares == ["0 %", "0 %", "10 %", "90 %", "20 %", "50 %", "30 %", "0 %"]
    assert texts.count("10") == 2 and {"clean", "lidar attacked"} <= set(texts)
    framed = ["currentColor" in style for style in boxes]
    assert framed == [False, False, False, True, False, True, True, False]
    assert [n for n, style in enumerate(boxes) if "dasharray" in style] == [6]


def test_gate_that_cannot_tell_has_no_such_column():
    texts, boxes = gate((None, (0, 0, 10), 1), ("lidar", (2, 5, 3), None))
    assert "unattributed" not in texts and len(boxes) == 6
    assert [text for text in texts if text.endswith(" %")][-3:] == [
        "20 %",
        "50 %",
        "30 %",
    ]


def test_more_alarms_than_frames_are_an_error():
    with pytest.raises(ValueError, match="gate: 4 unattributed ones in 3 frames"):
        gate((None, (0, 0, 10), 1), ("lidar", (2, 5, 3), 4))


@pytest.mark.parametrize(
    "name", [EVIL, r"$\frac{1$", "\x00\u2028", "#010101", "x" * 500]
)
def test_names_are_only_text(name):
    charts = [
        lines({name: PLAIN}, title=name, levels={name: {name: 3.0}}),
        bars_chart(name, {name: [Bar(name, 3.0, name)]}, top=25.0),
        gate_chart(name, [name], [ConfusionRow(name, {name: 3, "none": 4}, None)]),
        legend_chart([name]),
    ]
    for chart in charts:
        root = ElementTree.fromstring(chart)
        assert not list(root.iter("script"))
        assert all(len(one.text) < 200 for one in root.iter("text"))
    if name == EVIL:
        shown = ElementTree.fromstring(charts[-1]).iter("text")
        assert EVIL in [one.text for one in shown]


def test_chart_is_the_same_again_and_asks_for_nothing():
    before = mpl.rcParams.copy()
    chart = lines(BOTH)
    assert chart == lines(BOTH)
    assert mpl.rcParams == before
    assert "://" not in chart and "url(" not in chart and "<style" not in chart
    assert "font-family" not in chart  # the page's
    ids = re.findall(r' id="(.*?)"', chart + lines(BOTH, title="another"))
    assert len(ids) == len(set(ids))  # charts of one page do not share any


def test_axis_ends_above_all_figures():
    assert [top_of(values) for values in ([], [20.0, 24.0], [24.9], [80.0])] == [
        100.0,
        25.0,
        50.0,
        100.0,
    ]
