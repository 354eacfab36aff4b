"""Where the lines of a chart are drawn: numbers for the page's inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perception.visualization.report.summary import Curve, CurveChart
from perception.visualization.style import GREEN, GREY, VERMILLION, Rgb

WIDTH, HEIGHT = 440, 270
LEFT, RIGHT, TOP, BOTTOM = 40, 428, 14, 228
# Detectors differ by colour, dash and mark; no colour is a sensor's. None: the text's.
_COLOURS: tuple[Rgb | None, ...] = (None, VERMILLION, GREEN, GREY)
_DASHES = ("", "7 3", "2 3", "9 3 2 3")
_MARKS = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0",
    "M-4,-4h8v8h-8z",
    "M0,-5L5,4H-5z",
    "M0,-5L5,0L0,5L-5,0z",
    "M0,5L5,-4H-5z",
)


@dataclass(frozen=True)
class Line:
    """A detector's curve.

    Attributes:
        name: The detector.
        path: SVG path data.
        marks: (x, y, text) of each measured point.
        colour: CSS colour.
        dash: SVG dash pattern.
        mark: SVG path data of a mark around (0, 0).
    """

    name: str
    path: str
    marks: tuple[tuple[float, float, str], ...]
    colour: str
    dash: str
    mark: str


@dataclass(frozen=True)
class Drawing:
    """A chart as the template draws it.

    Ticks are (position, text), levels heights, and their texts (height, whether at the
    left, text).
    """

    attack: str
    sensors: tuple[str, ...]
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    levels: tuple[float, ...]
    level_texts: tuple[tuple[float, bool, str], ...]


def rgb(colour: Rgb) -> str:
    """A colour for CSS."""
    return f"rgb({colour[0]}, {colour[1]}, {colour[2]})"


def draw_chart(chart: CurveChart, detectors: Sequence[str]) -> Drawing:
    """Positions of everything in a chart.

    Args:
        chart: The figures.
        detectors: All names of the page, so that each looks the same in all charts.
    """
    scales = sorted({x for curve in chart.curves for x, _ in curve.points})
    far = max(scales[-1], 1e-9)
    lines = [
        _line(curve, far, detectors.index(curve.detector)) for curve in chart.curves
    ]
    ticks: list[tuple[float, str]] = []
    for value in scales:
        at = _x(value, far)
        # Texts that would touch are left out; the marks stay.
        if not ticks or at - ticks[-1][0] >= 34:
            ticks.append((at, f"{value:.3g}×" if value else "clean"))
    return Drawing(
        attack=chart.attack,
        sensors=chart.sensors,
        lines=tuple(lines),
        x_ticks=tuple(ticks),
        y_ticks=tuple((_y(v), str(v)) for v in (0, 25, 50, 75, 100)),
        levels=tuple(_y(value) for _, value in chart.levels),
        level_texts=tuple(_level_texts(chart.levels)),
    )


def _level_texts(levels: Sequence[tuple[str, float]]) -> list[tuple[float, bool, str]]:
    """Texts just above their lines, pushed up where they would overlap."""
    texts: list[tuple[float, bool, str]] = []
    for name, value in sorted(levels, key=lambda level: level[1]):
        y = _y(value) - 5
        # Curves start at the upper left and end at the lower right.
        left = value < 30
        beside = [at for at, other, _ in texts if other == left]
        if beside:
            y = min(y, beside[-1] - 15)
        texts.append((round(y, 1), left, f"{name} {value:.1f}"))
    return texts


def _x(value: float, far: float) -> float:
    return round(LEFT + (RIGHT - LEFT - 10) * value / far, 1)


def _y(mean: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * min(max(mean, 0.0), 100.0) / 100, 1)


def _line(curve: Curve, far: float, number: int) -> Line:
    places = [(_x(x, far), _y(y)) for x, y in curve.points]
    colour = _COLOURS[number % len(_COLOURS)]
    return Line(
        name=curve.detector,
        path="M" + "L".join(f"{x},{y}" for x, y in places),
        marks=tuple(
            (x, y, f"{curve.detector}: {mean:.1f} at {scale:.3g}×")
            for (x, y), (scale, mean) in zip(places, curve.points, strict=True)
        ),
        colour="currentColor" if colour is None else rgb(colour),
        dash=_DASHES[number % len(_DASHES)],
        mark=_MARKS[number % len(_MARKS)],
    )
