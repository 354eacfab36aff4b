"""What sensors give, as (H', width, 3) uint8 RGB pictures; nothing given is changed.

Shape letters: C channels; H, W height and width; P points; S sensors; h, w gate map.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from perception.core.gate_state import NOBODY
from perception.core.geometry import project_to_image, transform_points
from perception.core.structures import Calibration, Channel, SensorSpec
from perception.visualization.style import (
    CHANGE_COLOURS,
    DEPTH_SCALE,
    NO_RETURN,
    ColourScale,
    depth_scale_up_to,
    difference_scale,
    sensor_colour,
)

# Above this share of a picture, added returns would hide the rest: they lie below it.
_MANY = 0.03


def as_rgb(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of an (H, W), (H, W, 1) or (H, W, ≥3) picture in 0 … 255."""
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or not image.size:
        raise ValueError(f"image must be (H, W, C), got {image.shape}")
    if image.dtype != np.uint8:
        # NaN compares false: it becomes black, as values below 0 do.
        positive = np.where(image > 0, image, 0)
        image = np.rint(np.minimum(positive, 255)).astype(np.uint8)
    grey = image.shape[2] < 3
    return np.repeat(image[..., :1], 3, axis=2) if grey else image[..., :3]


def picture_size(size: Sequence[int], width: int) -> tuple[int, int]:
    """(H, W) of an image of ``size`` (H, W, …) brought to ``width``."""
    return max(1, round(size[0] * width / size[1])), width


def image_picture(image: np.ndarray, width: int) -> np.ndarray:
    """A picture in 0 … 255: averaged when it shrinks, interpolated when it grows.

    In steps of 4 grey levels, which nobody sees and which halve the size of a PNG.
    """
    image = as_rgb(image)
    shrinks = width < image.shape[1]
    kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    size = picture_size(image.shape, width)
    shown: np.ndarray = cv2.resize(image, size[::-1], interpolation=kind)
    return (shown & 0xFC) | 2


def points_picture(
    points: np.ndarray,
    cam_T_sensor: np.ndarray,
    calibration: Calibration,
    image_size: tuple[int, int],
    width: int,
    *,
    backdrop: np.ndarray | None = None,
    scale: ColourScale = DEPTH_SCALE,
) -> np.ndarray:
    """Points as the camera would see them, coloured by depth, near ones on top.

    Args:
        points: (P, 3 + F) x, y, z in metres in the sensor's frame.
        cam_T_sensor: (4, 4) transform to the cam frame.
        calibration: Projects to the reference image.
        image_size: (H, W) of the reference image.
        width: Width of the picture in pixels.
        backdrop: Reference image to show dimmed behind the points.
        scale: Colours of the depth in metres.
    """
    size, factor = picture_size(image_size, width), width / image_size[1]
    picture = np.full((*size, 3), NO_RETURN, dtype=np.uint8)
    if backdrop is not None:
        grey = cv2.cvtColor(image_picture(backdrop, width), cv2.COLOR_RGB2GRAY)
        picture[:] = (grey * 0.38).astype(np.uint8)[: size[0], :, None]
    points_cam = transform_points(cam_T_sensor, np.asarray(points)[:, :3])
    points_cam = points_cam[points_cam[:, 2] > 0.1]
    pixels, depth_m = project_to_image(calibration.image_P_cam, points_cam)
    pixels = (pixels + 0.5) * factor - 0.5
    inside = ((pixels >= -1) & (pixels <= [size[1], size[0]])).all(axis=1)
    pixels, depth_m = pixels[inside], depth_m[inside]
    order = np.argsort(-depth_m, kind="stable")
    colours = scale.colours(scale.levels(depth_m[order]))
    area = size[0] * size[1] / max(1, len(order))
    dot_px = int(np.clip(round(0.45 * math.sqrt(area)), 1, max(2, width // 200)))
    paint_dots(picture, pixels[order], colours, dot_px)
    return picture


def paint_dots(
    picture: np.ndarray, pixels: np.ndarray, colours: np.ndarray, size_px: int = 1
) -> None:
    """Paint (P, 2) x, y as squares in (P, 3) colours; later points cover earlier.

    In place. Matplotlib's scatter takes a second for the points of one LiDAR sweep.
    """
    height, width = picture.shape[:2]
    corners = np.rint(pixels - (size_px - 1) / 2)
    # On a larger canvas, dots at the edge need no care; NaN compares false.
    seen = (corners > -size_px).all(axis=1) & (corners < [width, height]).all(axis=1)
    x, y = (corners[seen] + size_px).astype(np.int64).T
    canvas = np.pad(picture, ((size_px, size_px), (size_px, size_px), (0, 0)))
    flat, row = canvas.reshape(-1, 3), width + 2 * size_px
    colours = np.broadcast_to(np.asarray(colours, dtype=np.uint8), (len(seen), 3))[seen]
    for dy in range(size_px):
        for dx in range(size_px):
            flat[(y + dy) * row + x + dx] = colours
    picture[:] = canvas[size_px:-size_px, size_px:-size_px]


def depth_picture(
    depth_m: np.ndarray, width: int, *, scale: ColourScale = DEPTH_SCALE
) -> np.ndarray:
    """An (H, W) depth map in metres, near is bright, no return (0) dark grey."""
    levels = scale.levels(depth_m, np.asarray(depth_m) > 0)
    return scale.colours(_shrunk(levels, width))


def channel_scale(channel: Channel) -> ColourScale:
    """The scale for a channel's values: distances logarithmic, the rest linear."""
    if channel.unit == "m" and channel.low >= 0:
        return depth_scale_up_to(channel.high)
    return ColourScale(channel.low, channel.high, channel.unit)


def spoken(channel: Channel) -> str:
    """``depth_m`` is "depth": the colour bar tells the unit."""
    return channel.name.removesuffix(f"_{channel.unit}").replace("_", " ")


def raster_picture(
    raster: np.ndarray,
    spec: SensorSpec,
    width: int,
    *,
    channel: int = 0,
    clean: np.ndarray | None = None,
) -> np.ndarray:
    """A model input (C, H, W) in physical units: an image, or one of its channels.

    Pixels without a return are dark grey, see :func:`returns`; images have none.

    Args:
        raster: The input.
        spec: Its channels.
        width: Width of the picture in pixels.
        channel: Number of the channel to show; images are shown whole.
        clean: (C, H, W) the input before an attack. Returns that were not in it have
            the colour of added points, those that are gone that of removed ones; where
            many were added they lie, faint, below all others, which they would hide.

    Raises:
        ValueError: If the input does not fit the spec.
    """
    raster = _checked(raster, spec)
    if spec.kind == "image":
        return image_picture(raster.transpose(1, 2, 0), width)
    scale = channel_scale(spec.channels[channel])
    valid = returns(raster, spec, channel)
    levels = scale.levels(raster[channel], valid)
    if clean is None:
        return scale.colours(_shrunk(levels, width))
    before = returns(_checked(clean, spec), spec, channel)
    added, removed = valid & ~before, before & ~valid
    own = _shrunk(np.where(added, 0, levels), width)
    picture = scale.colours(own)
    new = _shrunk(np.where(added, levels, 0), width)
    if added.mean() > _MANY:
        share = np.where(own == 0, 0.15 + 0.4 * new / 255, 0) * (new > 0)
    else:
        share = (new > 0).astype(float)
    tint = share[..., None] * (
        np.array(CHANGE_COLOURS["added"]) - picture.astype(float)
    )
    picture = np.rint(picture + tint).astype(np.uint8)
    gone = (_shrunk(removed.astype(np.uint8), width) > 0) & (own == 0) & (new == 0)
    picture[gone] = CHANGE_COLOURS["removed"]
    return picture


def returns(raster: np.ndarray, spec: SensorSpec, channel: int) -> np.ndarray:
    """(H, W) where a map of points or depth (C, H, W) has a return.

    As its depth tells; in other channels where any channel is not 0: an attack may
    change them where there is no depth.
    """
    if spec.channels[channel].name == "depth_m":
        return raster[channel] > 0
    return (raster != 0).any(axis=0)


def difference_picture(
    clean: np.ndarray,
    attacked: np.ndarray,
    spec: SensorSpec,
    width: int,
    *,
    channel: int | None = None,
    limit: float | None = None,
) -> tuple[np.ndarray, ColourScale]:
    """What an attack changed: attacked minus clean, with its sign; and its scale.

    In maps of points and depth only of pixels with a return before and after: what
    was added or removed has no distance to what it was.

    Args:
        clean: (C, H, W) model input in physical units.
        attacked: (C, H, W) likewise.
        spec: Names and units of the channels.
        width: Width of the picture in pixels.
        channel: Number of the channel to show. By default the first that changed; of
            an image, at each pixel the colour that changed most.
        limit: Value at the ends of the colour bar; by default a round value that
            covers 99 % of the changes.

    Raises:
        ValueError: If the inputs do not fit the spec or each other.
    """
    clean, attacked = _checked(clean, spec), _checked(attacked, spec)
    if clean.shape != attacked.shape:
        raise ValueError(
            f"sensor {spec.name!r}: clean is {clean.shape}, attacked {attacked.shape}"
        )
    change = attacked - clean
    if channel is None and spec.kind == "image":
        rise, fall = change.max(axis=0), change.min(axis=0)
        # Of equal changes with opposite signs, the first channel's counts.
        upward = (rise > -fall) | ((rise == -fall) & (change[0] >= 0))
        values, shown = np.where(upward, rise, fall), spec.channels[0]
    else:
        channel = changed_channel(clean, attacked, spec) if channel is None else channel
        values, shown = change[channel], spec.channels[channel]
    if spec.kind != "image" and channel is not None:
        both = (returns(raster, spec, channel) for raster in (clean, attacked))
        values = np.where(np.logical_and(*both), values, 0)
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    if limit is None:
        limit = _round_up(float(np.quantile(sizes, 0.99))) if len(sizes) else 1.0
    scale = difference_scale(min(limit, shown.high - shown.low), shown.unit)
    return scale.colours(_shrunk(scale.levels(values), width, signed=True)), scale


def changed_channel(clean: np.ndarray, attacked: np.ndarray, spec: SensorSpec) -> int:
    """The first channel that differs, 0 if none does and for images, shown whole."""
    if spec.kind == "image":
        return 0
    return int((attacked != clean).any(axis=(1, 2)).argmax())


def gate_picture(
    gate: np.ndarray, sensors: Sequence[str], image: np.ndarray, width: int
) -> np.ndarray:
    """Which sensor the gate finds odd where, over the picture in grey.

    Each cell is tinted with the sensors' colours in the parts of their
    probabilities; where the gate says "none", the picture stays grey.

    Args:
        gate: (S + 1, h, w) probabilities; the map covers the whole image.
        sensors: S names, in the gate's order.
        image: (H, W, C) reference picture in 0 … 255.
        width: Width of the picture in pixels.
    """
    gate = probabilities(gate, len(sensors))
    if gate.ndim != 3:
        raise ValueError(f"gate map must be (S + 1, h, w), got {gate.shape}")
    grey = cv2.cvtColor(image_picture(image, width), cv2.COLOR_RGB2GRAY)[..., None]
    colours = np.array([sensor_colour(name) for name in sensors], dtype=np.float32)
    tint = np.einsum("shw,sc->hwc", gate[:-1], colours.reshape(-1, 3))
    cells = np.dstack([tint, gate[:-1].sum(axis=0)])
    size = (grey.shape[1], grey.shape[0])
    cells = cv2.resize(cells, size, interpolation=cv2.INTER_NEAREST)
    tint, odd = cells[..., :3], cells[..., 3:]
    mixed = grey * (1 - 0.45 * odd) * (1 - 0.6 * odd) + 0.75 * tint
    return np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)


def probabilities(gate: np.ndarray, sensors: int) -> np.ndarray:
    """The gate as float32 in 0 … 1, if it has one entry a sensor and one for "none".

    Raises:
        ValueError: If it has not.
    """
    gate = np.asarray(gate, dtype=np.float32)
    if gate.ndim == 0 or len(gate) != sensors + 1 or not gate.size:
        raise ValueError(
            f"gate must have {sensors + 1} probabilities, one a sensor and one for "
            f"{NOBODY!r}, got shape {gate.shape}"
        )
    return np.clip(np.nan_to_num(gate), 0, 1)


def change_counts(
    clean: np.ndarray, attacked: np.ndarray, spec: SensorSpec
) -> Mapping[str, int]:
    """How many returns of a (C, H, W) map were changed, added and removed."""
    channel = changed_channel(clean, attacked, spec)
    before, after = (returns(raster, spec, channel) for raster in (clean, attacked))
    changed = clean[channel] != attacked[channel]
    return {
        "changed": int((before & after & changed).sum()),
        "added": int((after & ~before).sum()),
        "removed": int((before & ~after).sum()),
    }


def _shrunk(levels: np.ndarray, width: int, *, signed: bool = False) -> np.ndarray:
    """(H, W) levels brought to a width, without losing lone bright pixels."""
    size = picture_size(levels.shape, width)
    reach = math.ceil(levels.shape[1] / width - 1e-9)
    if reach > 1:
        # Nearest-neighbour shrinking would drop single returns: grow them first.
        kernel = np.ones((reach, reach), dtype=np.uint8)
        if signed:
            above = cv2.dilate(np.maximum(levels, 128), kernel)
            below = cv2.erode(np.minimum(levels, 128), kernel)
            rise, fall = above.astype(np.int16) - 128, 128 - below.astype(np.int16)
            # Of equal neighbours with opposite signs, the pixel's own sign decides.
            upward = (rise > fall) | ((rise == fall) & (levels >= 128))
            levels = np.where(upward, above, below)
        else:
            levels = cv2.dilate(levels, kernel)
    return cv2.resize(levels, size[::-1], interpolation=cv2.INTER_NEAREST)


def _round_up(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= value * (1 - 1e-6))


def _checked(raster: np.ndarray, spec: SensorSpec) -> np.ndarray:
    """The raster as float32, if it has the spec's channels."""
    raster = np.asarray(raster, dtype=np.float32)
    if raster.ndim != 3 or len(raster) != len(spec.channels) or not raster.size:
        raise ValueError(
            f"sensor {spec.name!r}: model input must be ({len(spec.channels)}, H, W), "
            f"got {raster.shape}"
        )
    return raster
