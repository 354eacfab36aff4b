"""The charts of a report page: matplotlib draws them, the page holds their SVG.

Ink and rules take the page's colours, so that a chart reads in light and in dark, and
texts stay texts in the page's font. Detectors differ by colour and mark, the same in
every chart; no detector has a sensor's colour. Sizes are in CSS pixels.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from perception.core.gate_state import ALARM, NOBODY
from perception.evaluation.robustness.results import ConfusionRow
from perception.evaluation.robustness.tables import span
from perception.visualization.style import (
    GREEN,
    GREY,
    VERMILLION,
    Rgb,
    sensor_colour,
)


class Point(NamedTuple):
    """A mean AP in percent at x, a budget or a severity, and its 95 % interval."""

    x: float
    mean: float
    interval: tuple[float, float] | None = None


class Bar(NamedTuple):
    """A mean AP, its 95 % interval, the attacked sensor or "", a text beside it."""

    sensor: str
    mean: float
    text: str
    interval: tuple[float, float] | None = None


# Colours that matplotlib writes and the page replaces by its own.
_INK, _FAINT, _RULE = "#010101", "#020202", "#030303"
_OF_PAGE = {_INK: "currentColor", _FAINT: "var(--faint)", _RULE: "var(--rule)"}
_NOT_SHOWN = ("metadata", "style", "clipPath")  # nothing reaches out of its axes
_MARKS = "osDv^"
_LINE_PX = 18
_RC = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 12,
    **{f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")},
    **{f"{axis}tick.major.size": 0 for axis in "xy"},
    **{f"{axis}tick.labelcolor": _FAINT for axis in "xy"},
    "xtick.major.pad": 6,
    "axes.labelcolor": _FAINT,
    "grid.color": _RULE,
    "text.color": _INK,
    "legend.frameon": False,
    "legend.borderpad": 0,
    "legend.borderaxespad": 0,
    "legend.labelspacing": 0.35,
    "legend.handlelength": 2.6,
}


@mpl.rc_context(_RC)
def lines_chart(
    title: str,
    lines: Mapping[str, Sequence[Point]],
    detectors: Sequence[str],
    *,
    top: float,
    ticks: Mapping[float, str],
    x_label: str,
    levels: Mapping[str, Mapping[str, float]] | None = None,
    small: bool = False,
) -> Markup:
    """Mean AP of several detectors over a budget or a severity.

    Args:
        title: What the chart is, for who cannot see it.
        lines: {detector: what was measured, ascending in x}.
        detectors: All names of the page, so that each looks the same in all charts.
        top: End of the axis of mean AP.
        ticks: Texts under the x axis; those that would touch are left out.
        x_label: What x is.
        levels: {detector: mean AP that does not depend on x, as ``oracle``}.
        small: One of many beside each other, without a legend of its own.
    """
    width, height = (240, 170) if small else (440, 250)
    below = 0 if small else _LINE_PX * len(lines) + 6
    figure, axes = _figure((width, height + below), (34, 12, 8, below + 42))
    axes.set_ylim(0, top)
    _grid(axes, "y", top)
    handles: list[Line2D] = []
    tips: list[str] = []
    for detector, points in lines.items():
        style, told = (
            _style(detectors.index(detector)),
            (levels or {}).get(detector, {}),
        )
        xs, means, _ = zip(*points, strict=True)
        axes.plot(xs, means, linewidth=2, color=style["color"])
        for x, mean, likely in points:
            if likely:
                axes.vlines(x, *likely, color=style["color"], linewidth=1)
            axes.plot(x, mean, gid=f"tip_{len(tips)}", **style)
            tips.append(f"{detector}: {mean:.1f}{span(likely)} at {ticks.get(x, x)}")
        for name, mean in told.items():
            dots = (0, (1, 3)) if name == "oracle" else (0, (6, 4))
            axes.axhline(mean, color=style["color"], linewidth=1.2, linestyle=dots)
        texts = ", ".join(f"{name} {mean:.1f}" for name, mean in told.items())
        label = _shown(f"{detector} ({texts})" if texts else detector)
        handles.append(Line2D([], [], linewidth=2, label=label, **style))
    first, width_x = min(ticks), max(ticks) - min(ticks)
    axes.set_xlim(first - 0.03 * width_x, first + 1.03 * width_x)
    labels, free = dict(ticks), first
    for x in sorted(ticks):
        labels[x] = ticks[x] if x >= free else ""
        free = x + width_x * 36 / width if x >= free else free
    axes.set_xticks(list(labels), list(labels.values()))
    axes.set_xlabel(x_label)
    if not small:
        figure.legend(handles=handles, loc="lower left")
    return _svg(figure, title, tips)


@mpl.rc_context(_RC)
def legend_chart(detectors: Sequence[str]) -> Markup:
    """How the lines of each detector look, for many charts."""
    figure = Figure((440 / 72, _LINE_PX * len(detectors) / 72), facecolor="none")
    lines = [
        Line2D([], [], linewidth=2, label=_shown(name), **_style(number))
        for number, name in enumerate(detectors)
    ]
    figure.legend(handles=lines, loc="lower left")
    return _svg(figure, "How the lines of the detectors look")


@mpl.rc_context(_RC)
def bars_chart(title: str, groups: Mapping[str, Sequence[Bar]], top: float) -> Markup:
    """Bars below each other, those of a detector under its name.

    Args:
        title: What the chart is, for who cannot see it.
        groups: {detector: its bars}.
        top: End of the axis of mean AP.
    """
    height_px = sum(28 + _LINE_PX * len(bars) for bars in groups.values())
    figure, axes = _figure((720, height_px + 22), (4, 4, 0, 22))
    axes.set(xlim=(0, 1.4 * top), ylim=(height_px, 0), yticks=[])  # room for texts
    _grid(axes, "x", top)
    y_px = 0.0
    for name, bars in groups.items():
        axes.text(0, y_px + 24, _shown(name), weight="bold", va="bottom")
        y_px += 28
        for sensor, mean, text, likely in bars:
            colour = _hex(sensor_colour(sensor)) if sensor else _INK
            axes.barh(y_px + 9, mean, height=11, color=colour)
            if likely:
                axes.hlines(y_px + 9, *likely, color=_FAINT, linewidth=1.5)
            at = (max(mean, likely[1] if likely else mean) + 0.01 * top, y_px + 9)
            axes.text(*at, _shown(text), va="center_baseline")
            y_px += _LINE_PX
    return _svg(figure, title)


@mpl.rc_context(_RC)
def gate_chart(
    title: str, sensors: Sequence[str], rows: Sequence[ConfusionRow]
) -> Markup:
    """Which sensor a gate's alarms are attributed to, in percent of a row's frames.

    The right answer has a frame, a dashed one if it is only half an answer: an alarm
    under an attack that is attributed to no sensor.

    Raises:
        ValueError: If more such alarms are counted than frames that blame no sensor.
    """
    told = all(row.alarm is not None for row in rows)
    columns = (*sensors, *([ALARM] if told else []), NOBODY)
    wide, high = len(columns) + 2.2, len(rows) + 1
    figure, axes = _figure((round(92 * wide), 30 * high), (0, 0, 0, 0))
    axes.set(xlim=(-1.7, wide - 1.7), ylim=(high - 0.5, -0.5), xticks=[], yticks=[])
    middle: dict[str, Any] = {"ha": "center", "va": "center"}
    headings = {NOBODY: "no alarm", ALARM: "unattributed"}
    for x, name in enumerate([*columns, "frames"]):
        axes.text(x, 0, _shown(headings.get(name, name), 14), color=_FAINT, **middle)
    for y, row in enumerate(rows, start=1):
        quiet, alarms = row.attributed.get(NOBODY, 0), (row.alarm or 0) if told else 0
        if not 0 <= alarms <= quiet:
            raise ValueError(f"{title}: {alarms} unattributed ones in {quiet} frames")
        counts = {**row.attributed, ALARM: alarms, NOBODY: quiet - alarms}
        frames = sum(counts.values())
        text = _shown(f"{row.sensor} attacked", 18) if row.sensor else "clean"
        axes.text(-1.7, y, text, va="center")
        axes.text(len(columns), y, str(frames), **middle)
        for x, name in enumerate(columns):
            part = counts.get(name, 0) / max(frames, 1)
            right = name == (row.sensor or NOBODY)
            half = name == ALARM and row.sensor is not None
            box = Rectangle((x - 0.48, y - 0.43), 0.96, 0.86)
            box.set_facecolor((_hex(sensor_colour(name)), 0.08 + 0.5 * part))
            box.set_edgecolor(_INK if right or half else "none")
            box.set_linestyle((0, (4, 3)) if half else "-")
            axes.add_patch(box)
            weight = "bold" if right else "normal"
            axes.text(x, y, f"{100 * part:.0f} %", weight=weight, **middle)
    return _svg(figure, title)


def top_of(values: Iterable[float]) -> float:
    """Where the axis of mean AP ends, so that all charts of a page share it."""
    most = max(values, default=100.0)
    return next((top for top in (10.0, 25.0, 50.0) if most <= 0.96 * top), 100.0)


def css_colour(sensor: str) -> str:
    """The colour of a sensor for the page."""
    return _hex(sensor_colour(sensor))


def _style(number: int) -> dict[str, Any]:
    colours = (_INK, *map(_hex, (VERMILLION, GREEN, GREY)))
    colour, mark = colours[number % len(colours)], _MARKS[number % len(_MARKS)]
    return {"color": colour, "marker": mark}


def _hex(colour: Rgb) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _shown(text: str, most: int = 56) -> str:
    """A name as the chart has room for it."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _grid(axes: Axes, axis: str, top: float) -> None:
    axes.set(**{f"{axis}ticks": [top * fifth / 5 for fifth in range(6)]})
    axes.grid(axis=axis, linewidth=1)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def _figure(
    size_px: tuple[int, int], margins_px: tuple[int, int, int, int]
) -> tuple[Figure, Axes]:
    """A figure with axes inside of margins (left, right, top, bottom)."""
    width, height = size_px
    left, right, top, bottom = margins_px
    figure = Figure((width / 72, height / 72), facecolor="none")
    figure.subplots_adjust(
        left / width, bottom / height, 1 - right / width, 1 - top / height
    )
    return figure, figure.add_subplot(facecolor="none")


def _svg(figure: Figure, title: str, tips: Sequence[str] = ()) -> Markup:
    """What matplotlib writes, as a part of a page.

    Args:
        figure: The chart.
        title: Its text for who cannot see it.
        tips: What parts with the ``gid`` ``tip_0``, … say when they are pointed at.
    """
    written = io.StringIO()
    mpl.rcParams["svg.hashsalt"] = ascii(title)  # inside of the caller's rc_context
    FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None})
    root = ElementTree.fromstring(written.getvalue())
    for part in root.iter():
        part.tag = part.tag.rpartition("}")[2]
        for inner in [one for one in part if one.tag.endswith(_NOT_SHOWN)]:
            part.remove(inner)
        kept = {key.rpartition("}")[2]: value for key, value in part.attrib.items()}
        kept.pop("clip-path", None)
        if part.tag == "g" and (gid := kept.pop("id", "")).startswith("tip_"):
            tip = ElementTree.Element("title")
            tip.text = _shown(tips[int(gid.removeprefix("tip_"))], most=120)
            part.insert(0, tip)
        if style := kept.get("style"):
            style = "; ".join(one for one in style.split("; ") if "family" not in one)
            for colour, of_page in _OF_PAGE.items():
                style = style.replace(colour, of_page)
            kept["style"] = style
        part.attrib = kept
    label = {"role": "img", "aria-label": _shown(title, most=120)}
    root.attrib = {"viewBox": root.attrib["viewBox"], **label}
    return Markup(ElementTree.tostring(root, encoding="unicode"))
