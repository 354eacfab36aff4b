"""Which topics of a bag are which sensors: a JSON file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from pydantic import Field

from perception.core.files import read_json
from perception.core.schema import Number, checked
from perception.core.structures import DataError
from perception.core.words import did_you_mean
from perception.datasets.bags.storage import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    ODOMETRY,
    POINTS,
    Topic,
)

Three = tuple[Number, Number, Number]
Four = tuple[Number, Number, Number, Number]


@dataclass(frozen=True)
class Mounting:
    """A static transform that the bag lacks, or that replaces the bag's.

    Attributes:
        parent: Name of a frame.
        child: Name of the frame that is put there.
        translation_m: x, y, z of the child in the parent's frame.
        rotation_xyzw: Unit quaternion.
    """

    parent: str
    child: str
    translation_m: Three
    rotation_xyzw: Four = (0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Topics:
    """What a bag's topics are.

    Attributes:
        camera: Pictures of the reference camera, whose times make the frames.
        camera_info: Its calibration.
        right: Pictures of the right camera of a rectified stereo pair.
        right_info: Its calibration.
        lidar: Clouds; several become one, in the frame of the first.
        radar: Radar clouds; several become one, in the frame of the first LiDAR.
        radar_fields: Of each radar point, after x, y and z, e.g. its radial velocity.
        odometry: Poses of the vehicle: ego motion, and points where they were when the
            picture was taken.
        tf_static: Where the sensors are.
        transforms: More static transforms.
        intensity: Field of a LiDAR's points that tells how much light came back.
        intensity_max: Its largest value, which becomes 1; None: 1 for fractions, 255
            for whole numbers.
        tolerance_s: So far from the picture's time may the other sensors' be.
        clock: Times are those of the messages' headers, or of their recording.
        rectified: Whether pictures are rectified; None: if "rect" is in the topic's
            name, or the calibration knows no distortion. Others are rectified here.
    """

    camera: str
    camera_info: str
    right: str | None = None
    right_info: str | None = None
    lidar: tuple[str, ...] = ()
    radar: tuple[str, ...] = ()
    radar_fields: tuple[str, ...] = ()
    odometry: str | None = None
    tf_static: str = "/tf_static"
    transforms: tuple[Mounting, ...] = ()
    intensity: str = "intensity"
    intensity_max: Annotated[Number, Field(gt=0)] | None = None
    tolerance_s: Annotated[Number, Field(ge=0)] = 0.05
    clock: Literal["header", "recorded"] = "header"
    rectified: bool | None = None

    def clouds(self) -> dict[str, tuple[str, ...]]:
        """The topics of each point sensor that there is."""
        both = {"lidar": self.lidar, "radar": self.radar}
        return {name: topics for name, topics in both.items() if topics}


def read_topics(path: str | os.PathLike) -> Topics:
    """The topics that a file names.

    Raises:
        DataError: If an entry is missing, unknown or of the wrong kind.
    """
    content = read_json(path, what="names of topics")
    known = [field.name for field in fields(Topics)]
    for key in content if isinstance(content, dict) else ():
        if key not in known:
            hint = did_you_mean(key, known) or f"; there are {', '.join(known)}"
            raise DataError(f"{path}: unknown entry {key!r}{hint}")
    made = checked(Topics, content, path, what="names of topics")
    if (made.right is None) != (made.right_info is None):
        raise DataError(f"{path}: right and right_info go together")
    used = [made.camera, made.right, *made.lidar, *made.radar]
    if twice := [name for name in used if name and used.count(name) > 1]:
        raise DataError(f"{path}: topic {twice[0]!r} is named twice")
    return made


def draft(topics: Mapping[str, Topic]) -> dict[str, object]:
    """A first guess at the file, from the types of a bag's topics."""

    def of(*kinds: str) -> list[str]:
        return [name for name, topic in topics.items() if topic.kind in kinds]

    pictures, infos, poses = of(IMAGE, COMPRESSED_IMAGE), of(CAMERA_INFO), of(ODOMETRY)
    made: dict[str, object] = {"camera": "?", "camera_info": "?"}
    for name, found in (("camera", pictures[:1]), ("camera_info", infos[:1])):
        made |= {name: found[0]} if found else {}
    if len(pictures) == len(infos) == 2:
        made |= {"right": pictures[1], "right_info": infos[1]}
    made["lidar"] = [n for n in of(POINTS) if "radar" not in n]
    if radar := [n for n in of(POINTS) if "radar" in n]:
        made |= {"radar": radar, "radar_fields": ["?"]}
    return made | ({"odometry": poses[0]} if poses else {})
