"""Trust in each sensor over the frames of a recording, and alarms.

Shape letters: N frames.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from perception.core.files import replacing
from perception.core.gate_state import ALARM
from perception.evaluation.recording import Recording
from perception.visualization.style import (
    FAINT_INK,
    INK,
    VERMILLION,
    Rgb,
    sensor_colour,
    unit_rgb,
)

_LINE_CHARACTERS = 130  # that fit side by side below the picture
_LANE_INCHES = 0.28


@dataclass(frozen=True)
class Lane:
    """What holds in some frames and not in others.

    Attributes:
        label: What it is.
        colour: Of the frames in which it holds.
        held: (N,) whether it does.
    """

    label: str
    colour: Rgb
    held: Sequence[bool]

    def spans(self) -> list[tuple[float, float]]:
        """Begin and length of each run of frames in which it holds, frame n at n."""
        edges = np.flatnonzero(np.diff([0, *map(int, self.held), 0]))
        pairs = edges.reshape(-1, 2)
        return [(begin - 0.5, float(end - begin)) for begin, end in pairs.tolist()]


def write_timeline(path: str | os.PathLike, recording: Recording) -> None:
    """Draw it as a PNG, without a display.

    Above is a line of trust, 0 to 1, for each sensor, on its colour while an alarm is
    attributed to it. Below are lanes: each sensor's alarms, those attributed to none if
    the detector raises such and, where there are any, frames without a sensor's data
    and attacked ones.

    Raises:
        DataError: If it cannot be written.
    """
    lanes = lanes_of(recording)
    height = _LANE_INCHES * (len(lanes) + 1)
    figure = Figure(figsize=(12, 4 + height), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.6, height])
    _draw_trust(above, recording, lanes[: len(recording.monitor.sensors)])
    _draw_lanes(below, lanes)
    names = [moment.frame_id for moment in recording.moments]
    most = min(10, _LINE_CHARACTERS // (2 + max(map(len, names))))
    step = -(-len(names) // max(1, most))
    below.set_xticks(range(0, len(names), step), names[::step])
    below.set_xlim(-0.5, len(names) - 0.5)
    below.set_xlabel(f"frame ({len(names)} in all)")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def lanes_of(recording: Recording) -> list[Lane]:
    """The lanes of :func:`write_timeline`; first the alarms, in the sensors' order."""
    moments, sensors = recording.moments, recording.monitor.sensors
    lanes = [
        Lane(
            f"alarm: {name}",
            sensor_colour(name),
            [m.state.alarm == name for m in moments],
        )
        for name in sensors
    ]
    if recording.summary["unattributed_share"] is not None:
        held = [moment.has_alarm for moment in moments]
        lanes.append(Lane("alarm: unattributed", sensor_colour(ALARM), held))
    for name in sensors:
        lacks = [name in moment.missing for moment in moments]
        hit = [name in moment.attacked for moment in moments]
        lanes += [Lane(f"no data: {name}", FAINT_INK, lacks)] if any(lacks) else []
        lanes += [Lane(f"attacked: {name}", VERMILLION, hit)] if any(hit) else []
    return lanes


def _draw_trust(axes: Any, recording: Recording, alarms: Sequence[Lane]) -> None:
    """Lines, the level of the alarm and the alarms' spans."""
    numbers = range(len(recording.moments))
    marker = "o" if len(numbers) <= 60 else None
    sensors = recording.monitor.sensors
    for number, name in enumerate(sensors):
        axes.plot(
            numbers,
            [moment.state.trust[name] for moment in recording.moments],
            color=unit_rgb(sensor_colour(name)),
            # Where trust is the same, each line shows at the edges of the next.
            linewidth=1.8 + 1.2 * (len(sensors) - 1 - number),
            marker=marker,
            markersize=3 + 1.2 * (len(sensors) - 1 - number),
            label=name,
        )
    # The evidence above which there is an alarm, as the trust below which there is one.
    level = 1 / (1 + np.exp(recording.monitor.threshold))
    label = f"alarm below {level:.2f}"
    axes.axhline(
        level, color=unit_rgb(INK), linewidth=1, linestyle=(0, (6, 4)), label=label
    )
    for lane in alarms:
        for begin, length in lane.spans():
            axes.axvspan(
                begin, begin + length, color=unit_rgb(lane.colour), alpha=0.2, lw=0
            )
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("trust (0: compromised, 1: benign)")
    axes.grid(axis="y", alpha=0.3)
    axes.tick_params(bottom=False)
    columns, corner = len(sensors) + 1, (0, 1)
    axes.legend(loc="lower left", bbox_to_anchor=corner, ncols=columns, frameon=False)


def _draw_lanes(axes: Any, lanes: Sequence[Lane]) -> None:
    """One row for each, the first at the top."""
    for row, lane in enumerate(lanes):
        spans, colour = lane.spans(), unit_rgb(lane.colour)
        axes.broken_barh(spans, (row - 0.35, 0.7), facecolor=colour)
        axes.axhline(row + 0.5, color=unit_rgb(FAINT_INK), linewidth=0.4, alpha=0.5)
    axes.set_yticks(range(len(lanes)), [lane.label for lane in lanes])
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.tick_params(left=False)
