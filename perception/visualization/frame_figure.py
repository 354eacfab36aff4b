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

from perception.core.structures import Frame
from perception.visualization.bev import draw_bev
from perception.visualization.boxes import (
    BoxLayer,
    corners_of,
    draw_boxes,
    draw_boxes_3d,
    truth_layer,
)
from perception.visualization.images import (
    depth_picture,
    image_picture,
    picture_size,
    points_picture,
)
from perception.visualization.sheet import MIN_WIDTH, Column, Sheet, write_picture
from perception.visualization.style import DEPTH_SCALE, HEIGHT_SCALE, sensor_colour

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
    sheet, points = Sheet(width), {}
    for name in names:
        if kind_of(frame, name) == "points":
            points[name] = frame.sensors[name]
    from_above = bool(points) or any(len(corners_of(layer.objects)) for layer in layers)
    body = sheet.body
    body.headline(title or f"frame {frame.frame_id}", _summary(frame, layers))
    left, right = body.shares(_SENSOR_SHARE) if from_above else (body, body)
    top, highest = left.y, 2 * left.width
    if from_above:
        highest = round(_BEV_ASPECT * right.width)
    _sensor_block(left, frame, names, layers, highest)
    statuses = list(dict.fromkeys(s for x in layers for s in x.statuses()))
    if statuses:
        left.gap()
        left.box_legend(statuses)
    if from_above:
        bottom = top + int(np.clip(left.y - top, round(0.9 * right.width), highest))
        note, scale = ("height over camera", HEIGHT_SCALE) if points else ("", None)
        right.title("bird's-eye view", note=note, scale=scale)
        draw_bev(
            *(sheet, right.area(bottom - right.y), frame.calibration),
            points=points,
            layers=layers,
            image_size=frame.image_size,
        )
    return sheet.rendered(max(left.y, right.y) + sheet.gap)


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
        write_picture(path, draw_frame(frame, width=width, sensors=sensors))
        yield path


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
    column: Column,
    frame: Frame,
    names: Sequence[str],
    layers: Sequence[BoxLayer],
    highest: int,
) -> None:
    """All sensors, in one column or, where that would be too high, in two."""
    if not names:
        column.placeholder(6 * column.sheet.text_px, "this frame has no sensors")
    one_column = len(names) * picture_size(frame.image_size, column.width)[0]
    count = 2 if one_column > highest and len(names) > 1 else 1
    for first in range(0, len(names), count):
        column.y += column.sheet.gap if first else 0
        parts = column.split(count)
        for name, part in zip(names[first:], parts, strict=False):
            _draw_sensor(part, frame, name, layers)
        column.join(parts)


def _draw_sensor(
    column: Column, frame: Frame, name: str, layers: Sequence[BoxLayer]
) -> None:
    """One sensor below its title."""
    kind, swatch = kind_of(frame, name), sensor_colour(name)
    if kind == "missing":
        column.title(name, swatch=swatch)
        column.placeholder(4 * column.sheet.text_px, "no data in this frame")
        return
    value, calibration = frame.sensors[name], frame.calibration
    height, wide = frame.image_size if kind == "points" else value.shape[:2]
    size = (height, wide)
    # Tall pictures do not grow higher than they are wide.
    width = max(1, min(column.width, round(0.75 * column.width * size[1] / size[0])))
    if kind == "image":
        rgb, note = image_picture(value, width), f"{size[1]} × {size[0]} px"
    elif kind == "points":
        rgb = points_picture(
            *(value, calibration.cam_T_sensor[name], calibration, size, width),
            backdrop=_reference_image(frame),
        )
        note = f"{len(value):,} points"
    else:
        share = np.count_nonzero(value > 0) / max(1, value.size)
        rgb, note = depth_picture(value, width), f"{share:.0%} with a return"
    column.width = width
    scale = None if kind == "image" else DEPTH_SCALE
    column.title(name, note=note, scale=scale, swatch=swatch)
    area, factor = column.picture(rgb), width / size[1]
    if kind == "points":
        draw_boxes_3d(column.sheet, area, layers, calibration, scale=factor)
    elif size == frame.image_size and (
        kind == "image" or _reference_image(frame) is None
    ):
        draw_boxes(column.sheet, area, layers, scale=factor)


def _summary(frame: Frame, layers: Sequence[BoxLayer]) -> str:
    """How many objects of each class are drawn."""
    names = [str(name) for layer in layers for name in layer.objects.names]
    if not names:
        return "no labels" if frame.objects is None else "no objects"
    counts = {name: names.count(name) for name in sorted(set(names))}
    return " · ".join(f"{count} {name}" for name, count in counts.items())
