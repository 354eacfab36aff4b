"""Model inputs (C, H, W) in physical units, and what an attack did to them.

A ``SensorSpec`` describes the channels, so that any sensor can be drawn. As in
``panels``, a panel is a new (H', width, 3) uint8 RGB array with a titled strip.

Shape letters: C channels; H, W height and width.
"""

from __future__ import annotations

import math

import numpy as np

from perception.core.structures import Channel, SensorSpec
from perception.visualization.palette import (
    ColourScale,
    depth_scale_up_to,
    difference_scale,
)
from perception.visualization.panels import colour_levels, finish, image_panel


def channel_scale(channel: Channel) -> ColourScale:
    """The scale for a channel's values: distances logarithmic, the rest linear."""
    if channel.unit == "m" and channel.low >= 0:
        return depth_scale_up_to(channel.high)
    return ColourScale(channel.low, channel.high, channel.unit)


def raster_panels(
    raster: np.ndarray,
    spec: SensorSpec,
    *,
    width: int,
    title: str | None = None,
    text_px: int | None = None,
) -> list[np.ndarray]:
    """A model input (C, H, W): one picture for an image, else one panel a channel.

    Pixels whose channels are all 0 are drawn as "no return", except in images.
    Titles begin with ``title``, by default the sensor's name; "" gives no strip.
    """
    title = spec.name if title is None else title
    raster = _checked(raster, spec)
    if spec.kind == "image":
        picture = raster.transpose(1, 2, 0)
        return [image_panel(picture, width=width, title=title, text_px=text_px)]
    valid = (raster != 0).any(axis=0)
    panels = []
    for values, channel in zip(raster, spec.channels, strict=True):
        scale = channel_scale(channel)
        panel = colour_levels(scale.levels(values, valid), width, scale)
        heading = f"{title} · {_spoken(channel)}" if title else ""
        panels.append(finish(panel, heading, text_px, scale))
    return panels


def difference_panel(
    clean: np.ndarray,
    attacked: np.ndarray,
    spec: SensorSpec,
    *,
    width: int,
    channel: str | None = None,
    limit: float | None = None,
    title: str = "difference",
    text_px: int | None = None,
) -> np.ndarray:
    """What an attack changed: attacked minus clean, with its sign and unit.

    Args:
        clean: (C, H, W) model input in physical units.
        attacked: (C, H, W) likewise.
        spec: Names and units of the channels.
        width: Width of the panel in pixels.
        channel: Name of the channel to show. By default the first that changed; of
            an image, at each pixel the colour that changed most.
        limit: Value at the ends of the colour bar; by default a round value that
            covers 99 % of the changes.
        title: Title of the panel; the channel's name is added. "" gives no strip.
        text_px: Text size, by default that of a sheet of this width.

    Raises:
        ValueError: If the inputs do not fit the spec or each other.
    """
    clean, attacked = _checked(clean, spec), _checked(attacked, spec)
    if clean.shape != attacked.shape:
        raise ValueError(
            f"sensor {spec.name!r}: clean is {clean.shape}, attacked {attacked.shape}"
        )
    values, shown, heading = _strongest_change(attacked - clean, spec, channel)
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    if limit is None:
        limit = _round_up(float(np.quantile(sizes, 0.99))) if len(sizes) else 1.0
    scale = difference_scale(min(limit, shown.high - shown.low), shown.unit)
    panel = colour_levels(scale.levels(values), width, scale)
    heading = heading if len(sizes) else "none"
    title = f"{title} · {heading}" if title and heading else title
    return finish(panel, title, text_px, scale)


def _strongest_change(
    change: np.ndarray, spec: SensorSpec, channel: str | None
) -> tuple[np.ndarray, Channel, str]:
    """The (H, W) change to show, a channel with its unit, and what to call it."""
    if channel is None and spec.kind == "image":
        rise, fall = change.max(axis=0), change.min(axis=0)
        # Of equal changes with opposite signs, the first channel's counts.
        upward = (rise > -fall) | ((rise == -fall) & (change[0] >= 0))
        return np.where(upward, rise, fall), spec.channels[0], ""
    names = [c.name for c in spec.channels]
    if channel is not None and channel not in names:
        raise ValueError(f"sensor {spec.name!r} has no channel {channel!r}: {names}")
    changed = change.any(axis=(1, 2)).argmax()
    index = int(changed) if channel is None else names.index(channel)
    return change[index], spec.channels[index], _spoken(spec.channels[index])


def _spoken(channel: Channel) -> str:
    """``depth_m`` is "depth": the colour bar tells the unit."""
    return channel.name.removesuffix(f"_{channel.unit}").replace("_", " ")


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
