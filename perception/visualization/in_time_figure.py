"""How well failures in time are found, by severity: a panel for each failure."""

from __future__ import annotations

import os
from typing import Any

from matplotlib.figure import Figure

from perception.core.files import replacing
from perception.evaluation.in_time import SOON, InTimeReport
from perception.visualization.style import INK, sensor_colour, unit_rgb


def write_in_time(path: str | os.PathLike, report: InTimeReport) -> None:
    """Draw it as a PNG: AUROC above, below the share of drives that are found soon.

    Raises:
        DataError: If it cannot be written.
    """
    kinds = list(dict.fromkeys(one.kind for one in report.failures))
    figure = Figure(figsize=(2.5 * len(kinds), 4.6), layout="constrained")
    panels = figure.subplots(2, len(kinds), sharex=True, sharey="row", squeeze=False)
    for kind, above, below in zip(kinds, *panels, strict=True):
        above.set_title(kind)
        above.axhline(0.5, color=unit_rgb(INK), linewidth=0.8, linestyle=(0, (6, 4)))
        for sensor in report.monitor.sensors:
            mine = [
                one
                for one in report.failures
                if (one.kind, one.sensor) == (kind, sensor)
            ]
            severities = [one.severity for one in mine]
            line = {
                "color": unit_rgb(sensor_colour(sensor)),
                "marker": "o",
                "markersize": 4,
                "label": sensor,
            }
            above.plot(severities, [one.auroc for one in mine], **line)
            below.plot(severities, [one.soon / one.drives for one in mine], **line)
        for axes in (above, below):
            _plain(axes)
        below.set_xlabel("severity")
    panels[0][0].set_ylabel("AUROC")
    panels[1][0].set_ylabel(f"found within {SOON} frames")
    panels[0][0].legend(frameon=False, fontsize="small")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _plain(axes: Any) -> None:
    axes.set_ylim(-0.03, 1.03)
    axes.set_xticks((1, 2, 3, 4, 5))
    axes.grid(axis="y", alpha=0.3)
