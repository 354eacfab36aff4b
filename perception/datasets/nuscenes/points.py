"""Points of several sensors and sweeps of nuScenes, as one cloud in one frame.

Shape letters: P points; F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from perception.core.geometry import inverse_transform, transform_points, wrap_angle
from perception.datasets.nuscenes.boxes import transform_of
from perception.datasets.nuscenes.files import (
    LIDAR_COLUMNS,
    RADAR_COLUMNS,
    read_lidar,
    read_radar,
)
from perception.datasets.nuscenes.tables import Scene

_READ = {"lidar": read_lidar, "radar": read_radar}
COLUMNS = {"lidar": (*LIDAR_COLUMNS, "age_s"), "radar": (*RADAR_COLUMNS, "age_s")}


@dataclass(frozen=True)
class NuScenesSource:
    """What one sensor of a frame is made of.

    Attributes:
        modality: ``camera`` (the frame's own camera), ``lidar`` or ``radar``.
        channels: nuScenes' names of the sensors; of several, those whose field of
            view overlaps the camera's are merged.
        columns: What each point holds, some of ``COLUMNS[modality]``; ``age_s`` is
            how long before the picture it was measured.
        sweeps: Sweeps to merge, the sample's own included; earlier ones are moved as
            if everything but the vehicle stood still.
        nearest_m: Points within this distance in both x and y hit the vehicle itself.
        view_deg: Horizontal opening angle of each sensor.
    """

    modality: str
    channels: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    sweeps: int = 1
    nearest_m: float = 1.0
    view_deg: float = 360.0

    def __post_init__(self) -> None:
        if self.modality == "camera":
            return
        if self.modality not in COLUMNS:
            raise ValueError(
                f"modality must be camera, lidar or radar, got {self.modality!r}"
            )
        known = COLUMNS[self.modality]
        if set(self.columns) - set(known) or tuple(self.columns[:3]) != known[:3]:
            raise ValueError(
                f"{self.modality} columns must begin with x, y, z, the others be of "
                f"{known[3:]}; got {self.columns}"
            )
        if not self.channels or self.sweeps < 1:
            raise ValueError(f"{self.modality} needs channels and at least one sweep")


class Cloud(NamedTuple):
    """Merged points.

    Attributes:
        points: (P, 3 + F) float32 with the source's columns.
        global_T_cloud: (4, 4) transform of their frame to the global frame.
        files: What was read.
    """

    points: np.ndarray
    global_T_cloud: np.ndarray
    files: list[str]


def sensor_to_global(scene: Scene, reading: Mapping[str, Any]) -> np.ndarray:
    """(4, 4) transform from a reading's sensor to the global frame."""
    mounted = scene["calibrations"][reading["calibration"]]
    return transform_of(reading) @ transform_of(mounted)


def channels_in_view(
    scene: Scene, sample: Mapping[str, Any], camera: str, source: NuScenesSource
) -> list[str]:
    """The source's channels whose view overlaps the camera's, the most aligned first.

    Sensors of which the scene has no calibration at all count as in view.
    """
    mounted = scene["calibrations"]
    axes = {row["channel"]: transform_of(row)[:3, :3] for row in mounted.values()}
    reading = sample["data"][camera][0]
    fx_px = mounted[reading["calibration"]]["intrinsic"][0][0]
    view_deg = 2 * np.rad2deg(np.arctan(reading["size"][1] / 2 / fx_px))
    ahead = axes[camera][:, 2]  # cameras look along z, all others along x
    off_deg = {}
    for channel in source.channels:
        along = axes[channel][:, 0] if channel in axes else ahead
        angle = np.arctan2(along[1], along[0]) - np.arctan2(ahead[1], ahead[0])
        off_deg[channel] = float(abs(np.rad2deg(wrap_angle(angle))))
    # The full circle is in every view; so may be a sensor that looks elsewhere.
    seen = [c for c in off_deg if off_deg[c] < (view_deg + source.view_deg) / 2]
    return sorted(seen, key=off_deg.__getitem__)


def merged_points(
    root: Path,
    scene: Scene,
    sample: Mapping[str, Any],
    channels: list[str],
    source: NuScenesSource,
    time_us: int,
) -> Cloud:
    """Read a sample's sweeps of some channels into one frame.

    The frame has the vehicle's axes at the moment of the first channel's own sweep,
    and that sensor's place as its origin.

    Args:
        root: nuScenes' folder.
        scene: Record of the scene.
        sample: Record of the sample.
        channels: What to merge; at least one.
        source: Columns, number of sweeps, nearest distance.
        time_us: When the picture was taken.

    Raises:
        DataError: If a file is damaged.
    """
    first = sample["data"][channels[0]][0]
    global_T_cloud = transform_of(first)
    mounted = transform_of(scene["calibrations"][first["calibration"]])
    global_T_cloud[:3, 3] = transform_points(global_T_cloud, mounted[:3, 3])
    cloud_T_global = inverse_transform(global_T_cloud)
    columns = [COLUMNS[source.modality].index(name) for name in source.columns]
    parts, files = [np.zeros((0, len(columns)), dtype=np.float32)], []
    for channel in channels:
        for reading in sample["data"][channel][: source.sweeps]:
            path = root / reading["file"]
            points = _READ[source.modality](path)
            near = (np.abs(points[:, :2]) < source.nearest_m).all(axis=1)
            points = points[~near]
            cloud_T_sensor = cloud_T_global @ sensor_to_global(scene, reading)
            places = points[:, :3].astype(np.float64)
            points[:, :3] = transform_points(cloud_T_sensor, places)
            age_s = np.full((len(points), 1), (time_us - reading["time_us"]) * 1e-6)
            every = np.concatenate([points, age_s.astype(np.float32)], axis=1)
            parts.append(every[:, columns])
            files.append(str(path))
    return Cloud(np.concatenate(parts), global_T_cloud, files)
