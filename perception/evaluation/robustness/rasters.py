"""From an attacked LiDAR map to points that are drawn as that map again.

Shape letters: C channels, H, W input size in pixels, P points.
"""

from __future__ import annotations

import numpy as np

from perception.core.geometry import inverse_transform, unproject_to_cam
from perception.core.structures import Calibration, Channel, DataError, SensorSpec
from perception.models.rasterize import NEAR_PLANE_M

_MARGIN = 1e-5  # relative; projecting float32 points back rounds by less


def in_sight(raster: np.ndarray, clean: np.ndarray, spec: SensorSpec) -> np.ndarray:
    """The map with depths that the rasteriser would not draw moved just inside.

    Otherwise a return attacked from 5 m to 0.05 m, or from 79 m to 80 m, would be none
    at all when its point is read again, a change far beyond the budget. Moving it
    brings it nearer to the clean one. Where that has no return and the attack put one
    before the near plane, there stays none.

    Args:
        raster: (C, H, W) attacked model input of a points sensor, in physical units.
        clean: (C, H, W) what it was.
        spec: What the channels hold; ``depth_m`` must be one of them.

    Raises:
        DataError: If the map has no depth.
    """
    channel = _depth_of(spec)
    index = spec.channels.index(channel)
    depth_m, near_m = raster[index], NEAR_PLANE_M * (1 + _MARGIN)
    moved = depth_m.clip(near_m, channel.high * (1 - _MARGIN))
    none = (depth_m <= 0) | ((depth_m < near_m) & (clean[index] <= 0))
    result = raster.copy()
    result[index] = np.where(none, 0, moved)
    return result


def raster_points(
    raster: np.ndarray, spec: SensorSpec, calibration: Calibration
) -> np.ndarray:
    """One point per return of a (C, H, W) map: (P, 3 + F) float32.

    Args:
        raster: Model input of a points sensor, in physical units.
        spec: What its channels hold; ``depth_m`` must be one of them.
        calibration: Of the map's resolution.

    Raises:
        DataError: If the map has no depth.
    """
    channels = {c.name: raster[i] for i, c in enumerate(spec.channels)}
    depth_m = channels[_depth_of(spec).name].astype(np.float64)
    rows, columns = np.nonzero(depth_m > 0)
    pixels = np.stack([columns, rows], axis=-1).astype(np.float64)
    cam = unproject_to_cam(calibration.image_P_cam, pixels, depth_m[rows, columns])
    sensor_T_cam = inverse_transform(calibration.cam_T_sensor[spec.name])
    xyz = cam @ sensor_T_cam[:3, :3].T + sensor_T_cam[:3, 3]
    features = [
        channels[name][rows, columns] if name in channels else np.zeros(len(rows))
        for name in spec.columns[3:]
    ]
    return np.column_stack([xyz, *features]).astype(np.float32)


def _depth_of(spec: SensorSpec) -> Channel:
    for channel in spec.channels:
        if channel.name == "depth_m":
            return channel
    raise DataError(f"sensor {spec.name!r}: a map without depth_m has no points")
