"""The charts of a report page: matplotlib draws them, the page holds their SVG.

Ink and rules take the page's colours, so that a chart reads in light and in dark, and
texts stay texts in the page's font. Detectors differ by colour and mark, the same in
every chart; no detector has a sensor's colour.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from perception.visualization.palette import (
    GREEN,
    GREY,
    IN_DOUBT,
    NOBODY,
    VERMILLION,
    Rgb,
    sensor_colour,
)

Points = Sequence[tuple[float, float]]
"""(x, mean AP in percent), ascending in x."""

# Colours that matplotlib writes and the page replaces by its own.
_INK, _FAINT, _RULE = "#010101", "#020202", "#030303"
_OF_PAGE = {_INK: "currentColor", _FAINT: "var(--faint)", _RULE: "var(--rule)"}
_NOT_SHOWN = ("metadata", "style", "clipPath")  # nothing reaches out of its axes
_MARKS = "osDv^"
_TEXT_PX, _LINE_PX = 12, 18
_RC = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": _TEXT_PX,
    **{f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")},
    **{f"{axis}tick.{size}.size": 0 for axis in "xy" for size in ("major", "minor")},
    **{f"{axis}tick.labelcolor": _FAINT for axis in "xy"},
    "axes.labelcolor": _FAINT,
    "axes.edgecolor": _RULE,
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
    lines: Mapping[str, Points],
    detectors: Sequence[str],
    *,
    top: float,
    ticks: Mapping[float, str],
    x_label: str,
    levels: Mapping[str, Mapping[str, float]] | None = None,
    size_px: tuple[int, int] = (440, 250),
    legend: bool = True,
) -> Markup:
    """Mean AP of several detectors over a budget or a severity.

    Args:
        title: What the chart is, for who cannot see it.
        lines: {detector: what was measured}.
        detectors: All names of the page, so that each looks the same in all charts.
        top: End of the axis of mean AP.
        ticks: Texts under the x axis; those that would touch are left out.
        x_label: What x is.
        levels: {detector: mean AP that does not depend on x, as ``oracle``}.
        size_px: Width and height without the legend.
        legend: Whether the detectors are named below.
    """
    below = _LINE_PX * len(lines) + 6 if legend else 0
    figure, axes = _figure((size_px[0], size_px[1] + below), (34, 12, 8, below + 42))
    axes.set_ylim(0, top)
    _grid(axes, "y", top)
    handles, tips = [], []
    for detector, points in lines.items():
        style = _style(detectors.index(detector))
        colour, told = style["color"], (levels or {}).get(detector, {})
        axes.plot(*zip(*points, strict=True), linewidth=2, color=colour)
        for x, mean in points:
            axes.plot(x, mean, gid=f"tip_{len(tips)}", clip_on=False, **style)
            tips.append(f"{detector}: {mean:.1f} at {ticks.get(x, x)}")
        for name, mean in told.items():
            dots = (0, (1, 3)) if name == "oracle" else (0, (6, 4))
            axes.axhline(mean, color=colour, linewidth=1.2, linestyle=dots)
        texts = ", ".join(f"{name} {mean:.1f}" for name, mean in told.items())
        label = _shown(f"{detector} ({texts})" if texts else detector)
        handles.append(Line2D([], [], linewidth=2, label=label, **style))
    margin = 0.03 * (max(ticks) - min(ticks))
    axes.set_xlim(min(ticks) - margin, max(ticks) + margin)
    axes.set_xticks([])
    axes.set_xlabel(x_label, labelpad=18)
    free_px = 0.0
    for x, text in sorted(ticks.items()):
        at_px = axes.transData.transform((x, 0))[0]
        if at_px >= free_px:
            _beside(axes, (x, 0), (0, -5), text, ha="center", va="top", color=_FAINT)
            free_px = at_px + 34
    if legend:
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
def bars_chart(
    title: str, groups: Mapping[str, Sequence[tuple[str, float, str]]], top: float
) -> Markup:
    """Bars below each other, those of a detector under its name.

    Args:
        title: What the chart is, for who cannot see it.
        groups: {detector: (attacked sensor or "", mean AP, text beside the bar)}.
        top: End of the axis of mean AP.
    """
    height_px = sum(28 + _LINE_PX * len(bars) for bars in groups.values())
    figure, axes = _figure((720, height_px + 22), (4, 4, 0, 22))
    axes.set(xlim=(0, 1.4 * top), ylim=(height_px, 0), yticks=[])  # room for texts
    _grid(axes, "x", top)
    y_px = 0.0
    for name, bars in groups.items():
        y_px += 28
        axes.text(0, y_px - 4, _shown(name), weight="bold", va="bottom")
        for sensor, mean, text in bars:
            colour = _hex(sensor_colour(sensor)) if sensor else _INK
            at = (mean, y_px + _LINE_PX / 2)
            axes.barh(at[1], mean, height=11, color=colour)
            _beside(axes, at, (5, 0), _shown(text), va="center_baseline")
            y_px += _LINE_PX
    return _svg(figure, title)


@mpl.rc_context(_RC)
def gate_chart(
    title: str, columns: Sequence[str], rows: Mapping[str, Mapping[str, int]]
) -> Markup:
    """Whom a gate's alarms are attributed to, in percent of the frames of a row.

    Args:
        title: What the chart is, for who cannot see it.
        columns: Sensors, ``in doubt`` where the gate can tell, ``none``.
        rows: {truly attacked sensor, ``none`` for clean frames: {column: frames}}. The
            right answer has a frame, a dashed one if it is only half an answer.
    """
    cell_px, left_px, row_px = 92, 110, 30
    size_px = (left_px + cell_px * (len(columns) + 1), row_px * (len(rows) + 1))
    figure, axes = _figure(size_px, (0, 0, 0, 0))
    axes.set(xlim=(0, size_px[0]), ylim=(size_px[1], 0), xticks=[], yticks=[])
    headings = {NOBODY: "no alarm", IN_DOUBT: "unattributed"}
    centres = [left_px + cell_px * (number + 0.5) for number in range(len(columns) + 1)]
    for x, name in zip(centres, [*columns, "frames"], strict=True):
        text = _shown(headings.get(name, name), 14)
        axes.text(x, row_px / 2, text, ha="center", va="center", color=_FAINT)
    for number, (truth, counts) in enumerate(rows.items(), start=1):
        y, frames = row_px * number, sum(counts.values())
        text = "clean" if truth == NOBODY else _shown(f"{truth} attacked", 18)
        axes.text(0, y + row_px / 2, text, va="center")
        axes.text(centres[-1], y + row_px / 2, str(frames), ha="center", va="center")
        for x, name in zip(centres, columns, strict=False):
            part = counts.get(name, 0) / max(frames, 1)
            half = name == IN_DOUBT and truth != NOBODY
            box = Rectangle(
                (x - cell_px / 2 + 2, y + 2),
                *(cell_px - 4, row_px - 4),
                facecolor=(_hex(sensor_colour(name)), 0.08 + 0.5 * part),
                edgecolor=_INK if half or name == truth else "none",
                linestyle=(0, (4, 3)) if half else "-",
            )
            axes.add_patch(box)
            weight = "bold" if name == truth else "normal"
            text = f"{100 * part:.0f} %"
            axes.text(x, y + row_px / 2, text, ha="center", va="center", weight=weight)
    return _svg(figure, title)


def top_of(values: Iterable[float]) -> float:
    """Where the axis of mean AP ends, so that all charts of a page share it."""
    most = max(values, default=100.0)
    return next((top for top in (10.0, 25.0, 50.0) if most <= 0.96 * top), 100.0)


def css(colour: Rgb) -> str:
    """A colour for CSS."""
    return f"rgb({colour[0]}, {colour[1]}, {colour[2]})"


def _style(number: int) -> dict[str, str]:
    colours = (_INK, *map(_hex, (VERMILLION, GREEN, GREY)))
    return {
        "color": colours[number % len(colours)],
        "marker": _MARKS[number % len(_MARKS)],
    }


def _hex(colour: Rgb) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _shown(text: str, most: int = 56) -> str:
    """A name as the chart has room for it."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _grid(axes: Axes, axis: str, top: float) -> None:
    ticks = [top * fifth / 5 for fifth in range(6)]
    axes.set(**{f"{axis}ticks": ticks, f"{axis}ticklabels": [f"{t:g}" for t in ticks]})
    axes.grid(axis=axis, linewidth=1)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def _figure(
    size_px: tuple[int, int], margins_px: tuple[int, int, int, int]
) -> tuple[Figure, Axes]:
    """A figure with axes inside of margins (left, right, top, bottom) in CSS pixels."""
    width, height = size_px
    left, right, top, bottom = margins_px
    figure = Figure((width / 72, height / 72), facecolor="none")
    inside = (left, bottom, width - left - right, height - top - bottom)
    scale = (width, height, width, height)
    at = tuple(part / whole for part, whole in zip(inside, scale, strict=True))
    return figure, figure.add_axes(at, facecolor="none")


def _beside(
    axes: Axes,
    at: tuple[float, float],
    shift_px: tuple[int, int],
    text: str,
    **more: str,
) -> None:
    axes.annotate(text, at, xytext=shift_px, textcoords="offset points", **more)


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
        if part.tag == "g" and (gid := kept.pop("id", "")).startswith("tip_"):
            tip = ElementTree.Element("title")
            tip.text = _shown(tips[int(gid.removeprefix("tip_"))], most=120)
            part.insert(0, tip)
        kept.pop("clip-path", None)
        style = [
            one for one in kept.get("style", "").split("; ") if "family" not in one
        ]
        for colour, of_page in _OF_PAGE.items():
            style = [one.replace(colour, of_page) for one in style]
        if style != [""]:
            kept["style"] = "; ".join(style)
        part.attrib.clear()
        part.attrib.update(kept)
    label = {"role": "img", "aria-label": _shown(title, most=120)}
    root.attrib = {"viewBox": root.attrib["viewBox"], **label}
    return Markup(ElementTree.tostring(root, encoding="unicode"))
