"""nuScenes as a sequence of frames: one per sample and camera.

    root/<version>/*.json             the tables
    root/{samples,sweeps}/<channel>/  pictures and points
    root/index-<version>/             optional, see ``index``

nuScenes' sensors fire at different moments while the vehicle moves. Points go from
their sensor to the vehicle as it stood then, on to the global frame, to the vehicle as
it stood when the picture was taken, and to its camera; ``cam_T_sensor`` holds all that.

A ``points`` sensor may merge several of the vehicle's (nuScenes has five radars) and
several sweeps. They share one frame with the vehicle's axes (x forward, y left, z up)
and its origin in the merged sensor that looks most in the camera's direction.

Shape letters: H, W image height and width in pixels; P points; F features.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from perception.core.geometry import inverse_transform
from perception.core.images import MAX_PIXELS, read_image
from perception.core.structures import Calibration, DataError, Frame
from perception.core.words import did_you_mean
from perception.datasets.nuscenes.boxes import camera_objects
from perception.datasets.nuscenes.files import LIDAR_COLUMNS, RADAR_COLUMNS
from perception.datasets.nuscenes.index import CAMERAS, LIDARS, RADARS, open_index
from perception.datasets.nuscenes.points import (
    NuScenesSource,
    channels_in_view,
    merged_points,
    sensor_to_global,
)
from perception.datasets.reader import FrameReader, check_size, pick_sources
from perception.datasets.splits import check_split, listing
from perception.datasets.timeline import Instant, Predecessor, predecessor

logger = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where a frame is found: scene, number of the sample in it, camera."""

    scene: str
    number: int
    camera: str

    @property
    def frame_id(self) -> str:
        """E.g. ``scene-0061-007-CAM_FRONT``."""
        return f"{self.scene}-{self.number:03d}-{self.camera}"


NUSCENES_SOURCES: Mapping[str, NuScenesSource] = {
    "camera": NuScenesSource("camera"),
    "lidar": NuScenesSource("lidar", LIDARS, LIDAR_COLUMNS[:4]),
    "radar": NuScenesSource("radar", RADARS, RADAR_COLUMNS, sweeps=5, view_deg=120.0),
}


class NuScenesFrames(FrameReader):
    """Frames of nuScenes, camera after camera of each scene, in the order of time.

    Frames that lack a file of a sensor which is not optional are left out, with a
    warning.

    Args:
        root: The folder that holds ``version``, ``samples`` and ``sweeps``.
        split: An official split, one of the version's ``splits.json``, ``"all"``, or
            names of scenes.
        version: E.g. ``v1.0-mini``.
        cameras: Channels of the cameras whose pictures become frames.
        sources: For each sensor what it is made of, as ``NuScenesSource`` or a dict
            of its arguments.
        sensors: Which of the sources to read; None reads all.
        optional_sensors: Sensors that a frame may lack; they are then absent from
            its ``sensors``.
        names: Class of each category, replacing the ten of nuScenes' detection task;
            boxes of other categories are left out.
        min_points: See ``camera_objects``.
        max_pixels: Pictures of more pixels are refused before they are decoded.
        index: Folder of the index; None looks at its usual place, and loads the
            tables if there is none.

    Raises:
        DataError: If the version, tables, split or index cannot be used, or no frame
            has all its sensors; on access, if a file is damaged.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        split: str | Sequence[str] = "all",
        *,
        version: str = "v1.0-mini",
        cameras: Sequence[str] = ("CAM_FRONT",),
        sources: Mapping[str, NuScenesSource | Mapping] = NUSCENES_SOURCES,
        sensors: Sequence[str] | None = None,
        optional_sensors: Sequence[str] = (),
        names: Mapping[str, str] | None = None,
        min_points: int = 1,
        max_pixels: int = MAX_PIXELS,
        index: str | os.PathLike | None = None,
    ) -> None:
        self._max_pixels = max_pixels
        cameras = (cameras,) if isinstance(cameras, str) else tuple(cameras)
        self.root, self.cameras = Path(root), cameras
        _check_channels("cameras", cameras, CAMERAS)
        self.made_of = pick_sources(NuScenesSource, sources, sensors, optional_sensors)
        self.optional_sensors = frozenset(optional_sensors)
        self.min_points = min_points
        self.scenes = open_index(root, version, index)
        self.names = self.scenes.names if names is None else dict(names)
        for name, source in self.made_of.items():
            if source.modality != "camera":
                known = LIDARS if source.modality == "lidar" else RADARS
                _check_channels(f"sensor {name!r}", source.channels, known)
            if source.sweeps > self.scenes.sweeps:
                raise DataError(
                    f"{self.scenes.where}: {self.scenes.sweeps} sweeps per sample, but "
                    f"sensor {name!r} wants {source.sweeps}"
                )
        self.places = self._find(self._scene_names(split))
        self.frame_ids = [place.frame_id for place in self.places]
        self._numbers = {place: number for number, place in enumerate(self.places)}

    def _scene_names(self, split: str | Sequence[str]) -> Sequence[str]:
        where = self.scenes.where
        if not isinstance(split, str):
            return check_split(split, self.scenes, f"{where}: the given scenes")
        if split not in self.scenes.splits:
            known = listing([*self.scenes.splits], shown=9)
            raise DataError(f"{where}: no split {split!r}; there are {known}")
        chosen = self.scenes.splits[split]
        return check_split(chosen, self.scenes, f"{where}: split {split!r}")

    def _find(self, scenes: Sequence[str]) -> list[Place]:
        """All frames of some scenes that have their sensors."""
        places, left_out = [], []
        for name in scenes:
            for camera in self.cameras:
                for number in range(self.scenes.samples[name]):
                    place = Place(name, number, camera)
                    lacks = self._lacks(place) if self.scenes.missing[name] else None
                    if lacks:
                        left_out.append(f"{place.frame_id} lacks {lacks}")
                    else:
                        places.append(place)
        if not places:
            raise DataError(
                f"{self.scenes.where}: no frame of {listing(scenes)} has its sensors: "
                + listing(left_out)
            )
        if left_out:
            counts = len(left_out), len(left_out) + len(places)
            told = self.scenes.where, *counts, listing(left_out, 2)
            logger.warning("%s: %d of %d frames are left out: %s", *told)
        return places

    def _lacks(self, place: Place) -> str:
        """The first channel that a frame needs and does not have, or nothing."""
        scene = self.scenes[place.scene]
        sample = scene["samples"][place.number]
        if place.camera not in sample["data"]:
            return place.camera
        for name, source in self.made_of.items():
            if source.modality == "camera" or name in self.optional_sensors:
                continue
            for channel in channels_in_view(scene, sample, place.camera, source):
                if channel not in sample["data"]:
                    return channel
        return ""

    def previous(self, number: int) -> Predecessor | None:
        """The camera's latest earlier frame of the scene that is not left out."""
        place = self.places[number]
        for earlier in range(place.number - 1, -1, -1):
            before = self._numbers.get(place._replace(number=earlier))
            if before is not None:
                return predecessor(self._instant(number), self._instant(before), before)
        return None

    def time_ns(self, number: int) -> int:
        """Of the camera's exposure."""
        return self._instant(number).time_ns

    def _instant(self, number: int) -> Instant:
        place = self.places[number]
        scene = self.scenes[place.scene]
        reading = scene["samples"][place.number]["data"][place.camera][0]
        pose = sensor_to_global(scene, reading)
        return Instant(place.frame_id, place.scene, reading["time_us"] * 1000, pose)

    def read(self, number: int) -> Frame:
        """Frame ``number``, read from its files."""
        place = self.places[number]
        scene = self.scenes[place.scene]
        sample = scene["samples"][place.number]
        reading = sample["data"][place.camera][0]
        intrinsic = scene["calibrations"][reading["calibration"]]["intrinsic"]
        image_P_cam = np.zeros((3, 4))
        image_P_cam[:, :3] = intrinsic
        cam_T_global = inverse_transform(sensor_to_global(scene, reading))
        size = (int(reading["size"][0]), int(reading["size"][1]))
        arrays, cam_T_sensor = {}, {}
        used = {"objects": self.scenes.where, "calib": self.scenes.where}
        for name, source in self.made_of.items():
            if source.modality == "camera":
                used[name] = str(self.root / reading["file"])
                arrays[name] = read_image(used[name], max_pixels=self._max_pixels)
                check_size(used[name], arrays[name], size, "the tables")
                continue
            channels = channels_in_view(scene, sample, place.camera, source)
            if not channels or any(c not in sample["data"] for c in channels):
                continue
            taken_us = reading["time_us"]
            cloud = merged_points(self.root, scene, sample, channels, source, taken_us)
            arrays[name] = cloud.points
            cam_T_sensor[name] = cam_T_global @ cloud.global_T_cloud
            used[name] = ", ".join(cloud.files)
        objects = camera_objects(
            sample["objects"],
            self.names,
            cam_T_global,
            image_P_cam,
            size,
            min_points=self.min_points,
        )
        calibration = Calibration(image_P_cam, cam_T_sensor)
        return Frame(place.frame_id, arrays, calibration, size, objects, used)


def _check_channels(what: str, channels: Sequence[str], known: Sequence[str]) -> None:
    """Raise DataError unless they are some of nuScenes', each once."""
    for name in channels:
        if name not in known:
            hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
            raise DataError(f"nuScenes has no channel {name!r} for {what}{hint}")
    if len(set(channels)) < len(channels) or not channels:
        raise DataError(f"{what}: expected channels, each once, got {list(channels)}")
