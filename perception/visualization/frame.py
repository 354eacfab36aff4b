"""A whole frame on one sheet: every sensor, its objects, and the view from above.

Which array is what follows from the frame itself: a sensor with a transform in the
calibration is a point cloud, another (H, W, C) array a picture, an (H, W) array a
depth map. No sensor is taken for granted.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from perception.core.images import write_image
from perception.core.structures import Frame
from perception.visualization.bev import bev_panel
from perception.visualization.boxes import (
    BoxLayer,
    corners_of,
    draw_boxes,
    truth_layer,
)
from perception.visualization.canvas import new_canvas, text_px_for
from perception.visualization.palette import DEPTH_SCALE, sensor_colour
from perception.visualization.panels import (
    depth_panel,
    image_panel,
    panel_size,
    points_panel,
)
from perception.visualization.sheet import (
    body_width,
    box_legend,
    column_widths,
    gap_px,
    placeholder,
    row,
    stack,
    strip_height,
    titled,
    titled_sheet,
)

MIN_WIDTH = 320
# Share of the sheet that the sensors take beside the bird's-eye view.
_SENSOR_SHARE = 0.66
# The bird's-eye view is at most so many times as high as it is wide.
_BEV_ASPECT = 2.2


def draw_frame(
    frame: Frame,
    *,
    width: int = 1600,
    sensors: Sequence[str] | None = None,
    layers: Sequence[BoxLayer] | None = None,
    ignored: Collection[str] = ("DontCare",),
    title: str = "",
) -> np.ndarray:
    """Draw a frame: sensors one above the other, the view from above beside them.

    Args:
        frame: Any frame; it is not changed.
        width: Width of the sheet in pixels, at least 320.
        sensors: Names to show, in order; one that the frame lacks gets an empty
            panel that says so. By default what the frame has, pictures first.
        layers: Objects to draw; by default the frame's ground truth.
        ignored: Classes of the ground truth to draw as ignored.
        title: Headline, by default the frame's name.

    Returns:
        (H', width, 3) uint8 RGB.
    """
    if width < MIN_WIDTH:
        raise ValueError(f"width must be at least {MIN_WIDTH} pixels, got {width}")
    names = list(sensors) if sensors is not None else _pictures_first(frame)
    if layers is None:
        truth = frame.objects
        layers = [] if truth is None else [truth_layer(truth, ignored)]
    text_px = text_px_for(width)
    gap, inner = gap_px(text_px), body_width(width)
    from_above = any(kind_of(frame, name) == "points" for name in names)
    from_above |= any(len(corners_of(layer.objects)) for layer in layers)
    left = round(inner * _SENSOR_SHARE) if from_above else inner
    beside = inner - left - gap
    highest = round(_BEV_ASPECT * beside) if from_above else 2 * inner
    parts = [_sensor_block(frame, names, layers, left, highest, text_px)]
    statuses = list(dict.fromkeys(s for x in layers for s in x.statuses()))
    if statuses:
        parts.append(box_legend(statuses, left, text_px=text_px))
    body = stack(parts, gap=gap)
    if from_above:
        high = int(np.clip(body.shape[0], round(0.9 * beside), highest))
        view = _view_from_above(frame, names, layers, (high, beside), text_px)
        body = row([body, view], gap=gap)
    headline = title or f"frame {frame.frame_id}"
    return titled_sheet(body, headline, width=width, subtitle=_summary(frame, layers))


def save_frames(
    frames: Iterable[Frame],
    folder: str | os.PathLike,
    *,
    width: int = 1600,
    sensors: Sequence[str] | None = None,
) -> Iterator[Path]:
    """Draw each frame to ``folder/<frame_id>.png`` and yield the path."""
    for frame in frames:
        path = Path(folder) / f"{Path(frame.frame_id).name}.png"
        write_image(path, draw_frame(frame, width=width, sensors=sensors))
        yield path


def _view_from_above(
    frame: Frame,
    names: Sequence[str],
    layers: Sequence[BoxLayer],
    size: tuple[int, int],
    text_px: int,
) -> np.ndarray:
    """The titled bird's-eye view, (H, W) ``size`` with its title."""
    return bev_panel(
        frame.calibration,
        size=(size[0] - strip_height(text_px), size[1]),
        points={n: frame.sensors[n] for n in names if kind_of(frame, n) == "points"},
        layers=layers,
        image_size=frame.image_size,
        title="bird's-eye view",
        text_px=text_px,
    )


def kind_of(frame: Frame, name: str) -> str:
    """``points``, ``image``, ``depth``, or ``missing`` for a sensor of the frame."""
    if name not in frame.sensors:
        return "missing"
    if name in frame.calibration.cam_T_sensor:
        return "points"
    return "image" if frame.sensors[name].ndim == 3 else "depth"


def _pictures_first(frame: Frame) -> list[str]:
    """The frame's sensors, pictures before the rest, otherwise in their order."""
    return sorted(frame.sensors, key=lambda name: kind_of(frame, name) != "image")


def _reference_image(frame: Frame) -> np.ndarray | None:
    """The picture that the calibration and the boxes belong to."""
    for name, value in frame.sensors.items():
        if kind_of(frame, name) == "image" and value.shape[:2] == frame.image_size:
            return value
    return None


def _sensor_block(
    frame: Frame,
    names: Sequence[str],
    layers: Sequence[BoxLayer],
    width: int,
    highest: int,
    text_px: int,
) -> np.ndarray:
    """All sensors, in one column or, where that would be too high, in two."""
    if not names:
        message = "this frame has no sensors"
        return placeholder(6 * text_px, width, message, text_px=text_px)
    gap = gap_px(text_px)
    one_column = len(names) * panel_size(frame.image_size, width)[0]
    count = 2 if one_column > highest and len(names) > 1 else 1
    widths = column_widths(width, count, gap)
    rows = []
    for first in range(0, len(names), count):
        cells = [
            _padded(_sensor_panel(frame, name, layers, column, text_px), column)
            for name, column in zip(names[first:], widths, strict=False)
        ]
        rows.append(row(cells, gap=gap))
    return stack(rows, gap=gap)


def _padded(panel: np.ndarray, width: int) -> np.ndarray:
    """The panel with paper to its right up to a width."""
    canvas = new_canvas(panel.shape[0], width)
    canvas[:, : panel.shape[1]] = panel
    return canvas


def _sensor_panel(
    frame: Frame,
    name: str,
    layers: Sequence[BoxLayer],
    width: int,
    text_px: int,
) -> np.ndarray:
    """One sensor's titled panel."""
    kind, scale = kind_of(frame, name), None
    size = frame.sensors[name].shape[:2] if kind in ("image", "depth") else None
    width = _width_in_bounds(size or frame.image_size, width)
    fits = size is None or size == frame.image_size
    if kind == "missing":
        panel = placeholder(
            4 * text_px, width, "no data in this frame", text_px=text_px
        )
        note = ""
    elif kind == "image":
        boxes = layers if fits else ()
        value = frame.sensors[name]
        panel = image_panel(value, width=width, layers=boxes, text_px=text_px)
        note = f"{value.shape[1]} × {value.shape[0]} px"
    elif kind == "points":
        value, scale = frame.sensors[name], DEPTH_SCALE
        panel = points_panel(
            value,
            frame.calibration.cam_T_sensor[name],
            frame.calibration,
            frame.image_size,
            width=width,
            backdrop=_reference_image(frame),
            layers_3d=layers,
        )
        note = f"{len(value):,} points"
    else:
        value, scale = frame.sensors[name], DEPTH_SCALE
        panel = depth_panel(value, width=width)
        if fits and _reference_image(frame) is None:
            scale_px = width / frame.image_size[1]
            panel = draw_boxes(panel, layers, scale=scale_px, text_px=text_px)
        note = f"{np.count_nonzero(value > 0) / max(1, value.size):.0%} with a return"
    swatch = sensor_colour(name)
    return titled(panel, name, text_px=text_px, scale=scale, note=note, swatch=swatch)


def _width_in_bounds(size: Sequence[int], width: int) -> int:
    """A width that keeps tall pictures from growing higher than they are wide."""
    return max(1, min(width, round(0.75 * width * size[1] / size[0])))


def _summary(frame: Frame, layers: Sequence[BoxLayer]) -> str:
    """How many objects of each class are drawn."""
    names = [str(name) for layer in layers for name in layer.objects.names]
    if not names:
        return "no labels" if frame.objects is None else "no objects"
    counts = {name: names.count(name) for name in sorted(set(names))}
    return " · ".join(f"{count} {name}" for name, count in counts.items())
