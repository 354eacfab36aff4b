"""Each sensor clean, attacked, and what the attack changed.

Shape letters: C, H, W model input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perception.core.structures import SensorSpec
from perception.visualization.palette import sensor_colour
from perception.visualization.panels import panel_size
from perception.visualization.rasters import (
    channel_scale,
    difference_panel,
    raster_panels,
)
from perception.visualization.scene import Scene
from perception.visualization.sheet import (
    column_widths,
    gap_px,
    grid,
    placeholder,
    row,
    titled,
)


def sensors_block(scene: Scene, width: int, *, text_px: int) -> np.ndarray:
    """A row per sensor with clean, attacked and difference; or one row if clean."""
    gap = gap_px(text_px)
    names = list(scene.sensors)
    if scene.attacked is None:
        widths = column_widths(width, len(names), gap)
        panels = [
            _clean_panel(scene, name, wide, text_px)
            for name, wide in zip(names, widths, strict=True)
        ]
        return row(panels, gap=gap)
    label = round(1.7 * text_px) + gap
    widths = column_widths(width - label, 3, gap)
    rows = [_sensor_row(scene, name, widths, text_px) for name in names]
    return grid(rows, labels=names, text_px=text_px)


def _clean_panel(scene: Scene, name: str, width: int, text_px: int) -> np.ndarray:
    spec = scene.sensors[name]
    channel, raster = spec.channels[0], scene.clean.inputs[name]
    panel = raster_panels(raster, spec, width=width, title="")[0]
    scale = None if spec.kind == "image" else channel_scale(channel)
    swatch = sensor_colour(name)
    return titled(panel, name, text_px=text_px, scale=scale, swatch=swatch)


def _sensor_row(
    scene: Scene, name: str, widths: Sequence[int], text_px: int
) -> list[np.ndarray]:
    """Clean, attacked and the difference of the first channel that changed."""
    assert scene.attacked is not None
    spec = scene.sensors[name]
    before, after = scene.clean.inputs[name], scene.attacked.inputs[name]
    channel = changed_channel(before, after, spec)
    panels = [
        raster_panels(raster, spec, width=wide, title=title, text_px=text_px)[channel]
        for raster, title, wide in (
            (before, "clean", widths[0]),
            (after, "attacked" if name in scene.touched else "untouched", widths[1]),
        )
    ]
    if name in scene.touched:
        shown = None if spec.kind == "image" else spec.channels[channel].name
        title = "attacked minus clean"
        last = difference_panel(
            *(before, after, spec),
            width=widths[2],
            channel=shown,
            title=title,
            text_px=text_px,
        )
    else:
        high = panel_size(before.shape[1:], widths[2])[0]
        message = "identical in every bit"
        if not np.array_equal(before, after):
            message = "differs, though not attacked"
        last = placeholder(high, widths[2], message, text_px=text_px)
        last = titled(last, "difference", text_px=text_px)
    return [*panels, last]


def changed_channel(clean: np.ndarray, attacked: np.ndarray, spec: SensorSpec) -> int:
    """The first channel that changed; 0 for images, which are shown whole."""
    if spec.kind == "image":
        return 0
    return int((attacked != clean).any(axis=(1, 2)).argmax())
