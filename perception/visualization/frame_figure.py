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
from perception.visualization.sheet import MIN_WIDTH, Area, Sheet, write_picture
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
    sheet = Sheet(width)
    from_above = any(kind_of(frame, name) == "points" for name in names)
    from_above |= any(len(corners_of(layer.objects)) for layer in layers)
    left = round(sheet.inner * _SENSOR_SHARE) if from_above else sheet.inner
    beside = sheet.inner - left - sheet.gap
    highest = round(_BEV_ASPECT * beside) if from_above else 2 * sheet.inner
    top = y = sheet.headline(
        title or f"frame {frame.frame_id}", _summary(frame, layers)
    )
    y = _sensor_block(sheet, y, frame, names, layers, left, highest)
    statuses = list(dict.fromkeys(s for x in layers for s in x.statuses()))
    if statuses:
        y = sheet.box_legend(sheet.left, y + sheet.gap, left, statuses)
    if from_above:
        y = top + int(np.clip(y - top, round(0.9 * beside), highest))
        x = sheet.left + left + sheet.gap
        points = {
            name: frame.sensors[name]
            for name in names
            if kind_of(frame, name) == "points"
        }
        note, scale = ("height over camera", HEIGHT_SCALE) if points else ("", None)
        start = sheet.titled(x, top, beside, "bird's-eye view", note=note, scale=scale)
        draw_bev(
            *(sheet, Area(x, start, beside, y - start), frame.calibration),
            points=points,
            layers=layers,
            image_size=frame.image_size,
        )
    return sheet.rendered(y + sheet.gap)


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
    sheet: Sheet,
    y: int,
    frame: Frame,
    names: Sequence[str],
    layers: Sequence[BoxLayer],
    width: int,
    highest: int,
) -> int:
    """All sensors, in one column or, where that would be too high, in two."""
    if not names:
        area = Area(sheet.left, y, width, 6 * sheet.text_px)
        sheet.placeholder(area, "this frame has no sensors")
        return area.bottom
    one_column = len(names) * picture_size(frame.image_size, width)[0]
    count = 2 if one_column > highest and len(names) > 1 else 1
    wide = (width - (count - 1) * sheet.gap) // count
    for first in range(0, len(names), count):
        y = sheet.gap + max(
            _sensor(
                sheet, sheet.left + n * (width - wide), y, frame, name, layers, wide
            )
            for n, name in enumerate(names[first : first + count])
        )
    return y - sheet.gap


def _sensor(
    sheet: Sheet,
    x: int,
    y: int,
    frame: Frame,
    name: str,
    layers: Sequence[BoxLayer],
    width: int,
) -> int:
    """One sensor below its title; returns the lower end."""
    kind, value = kind_of(frame, name), frame.sensors.get(name)
    size = frame.image_size
    if kind in ("image", "depth") and value is not None:
        size = value.shape[:2]
    # Tall pictures do not grow higher than they are wide.
    width = max(1, min(width, round(0.75 * width * size[1] / size[0])))
    fits, factor = size == frame.image_size, width / size[1]
    scale, note = (None if kind in ("image", "missing") else DEPTH_SCALE), ""
    if value is None:
        y = sheet.titled(x, y, width, name, swatch=sensor_colour(name))
        area = Area(x, y, width, 4 * sheet.text_px)
        sheet.placeholder(area, "no data in this frame")
        return area.bottom
    if kind == "image":
        rgb, note = image_picture(value, width), f"{size[1]} × {size[0]} px"
    elif kind == "points":
        rgb = points_picture(
            *(value, frame.calibration.cam_T_sensor[name], frame.calibration),
            *(frame.image_size, width),
            backdrop=_reference_image(frame),
        )
        note = f"{len(value):,} points"
    else:
        rgb = depth_picture(value, width)
        share = np.count_nonzero(value > 0) / max(1, value.size)
        note = f"{share:.0%} with a return"
    swatch = sensor_colour(name)
    y = sheet.titled(x, y, width, name, note=note, scale=scale, swatch=swatch)
    area = sheet.picture(x, y, rgb)
    if kind == "points":
        draw_boxes_3d(sheet, area, layers, frame.calibration, scale=factor)
    elif fits and (kind == "image" or _reference_image(frame) is None):
        draw_boxes(sheet, area, layers, scale=factor)
    return area.bottom


def _summary(frame: Frame, layers: Sequence[BoxLayer]) -> str:
    """How many objects of each class are drawn."""
    names = [str(name) for layer in layers for name in layer.objects.names]
    if not names:
        return "no labels" if frame.objects is None else "no objects"
    counts = {name: names.count(name) for name in sorted(set(names))}
    return " · ".join(f"{count} {name}" for name, count in counts.items())
