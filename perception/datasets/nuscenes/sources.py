"""Which of nuScenes' sensors make up the sensors of a frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from perception.datasets.nuscenes.files import LIDAR_COLUMNS, RADAR_COLUMNS
from perception.datasets.nuscenes.index import LIDARS, RADARS

COLUMNS = {
    "lidar": (*LIDAR_COLUMNS, "age_s"),
    "radar": (*RADAR_COLUMNS, "age_s"),
}


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


NUSCENES_SOURCES: Mapping[str, NuScenesSource] = {
    "camera": NuScenesSource("camera"),
    "lidar": NuScenesSource("lidar", LIDARS, LIDAR_COLUMNS[:4]),
    "radar": NuScenesSource("radar", RADARS, RADAR_COLUMNS, sweeps=5, view_deg=120.0),
}
