"""The schema of the index and of a scene's record, whoever made them.

Numbers are in metres, pixels and microseconds; ``tables`` says what a record means.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from perception.core.files import path_part, path_within
from perception.core.schema import checked
from perception.core.structures import DataError

# Farther than any map reaches: beyond it float32 and products overflow.
_Metres = Annotated[float, Field(ge=-1e7, le=1e7, allow_inf_nan=False)]
_Pixels = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
_Length = Annotated[float, Field(ge=0, le=1e4, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0)]
_TimeUs = Annotated[int, Field(ge=0, lt=2**62)]
_Point = tuple[_Metres, _Metres, _Metres]
_Row = tuple[_Pixels, _Pixels, _Pixels]


def _unit(rotation: tuple[float, ...]) -> tuple[float, ...]:
    if abs(math.hypot(*rotation) - 1) > 0.01:
        raise ValueError("a rotation is a quaternion of length 1")
    return rotation


_Rotation = Annotated[tuple[float, float, float, float], AfterValidator(_unit)]


class _Calibration(TypedDict):
    channel: str
    translation: _Point
    rotation: _Rotation
    intrinsic: tuple[()] | tuple[_Row, _Row, _Row]


class _Reading(TypedDict):
    file: Annotated[str, AfterValidator(lambda name: path_within(name, "a file"))]
    time_us: _TimeUs
    calibration: str
    translation: _Point
    rotation: _Rotation
    size: tuple[_Count, _Count]


class _Box(TypedDict):
    category: str
    translation: _Point
    size: tuple[_Length, _Length, _Length]
    rotation: _Rotation
    visibility: str
    points: int
    token: str


class _Sample(TypedDict):
    token: str
    time_us: _TimeUs
    objects: list[_Box]
    data: dict[str, Annotated[list[_Reading], Field(min_length=1)]]


_Missing = tuple[_Count, str, str]


class _Scene(TypedDict):
    name: str
    token: str
    calibrations: dict[str, _Calibration]
    samples: list[_Sample]
    missing: list[_Missing]


class _Index(TypedDict):
    version: str
    tables: dict[str, int]
    missing: dict[str, list[_Missing]]
    samples: dict[str, _Count]
    splits: dict[str, list[str]]
    names: dict[str, str]
    sweeps: Annotated[int, Field(ge=1)]


def checked_scene(record: Any, where: object) -> dict[str, Any]:
    """A scene's record, of the index or described by the devkit.

    Raises:
        DataError: If it is damaged: names the entry.
    """
    what = "scene of nuScenes"
    scene: dict[str, Any] = {**checked(_Scene, record, where, what=what)}
    path_part(scene["name"], where)
    for number, sample in enumerate(scene["samples"]):
        for channel, readings in sample["data"].items():
            for reading in readings:
                mounted = scene["calibrations"].get(reading["calibration"])
                camera = channel.startswith("CAM")
                usable = mounted is not None and mounted["channel"] == channel
                if not usable or (camera and not _projects(mounted["intrinsic"])):
                    raise DataError(
                        f"{where}: damaged {what}: samples.{number}.data.{channel}: no "
                        f"usable calibration {reading['calibration']!r}"
                    )
    if any(number >= len(scene["samples"]) for number, _, _ in scene["missing"]):
        raise DataError(f"{where}: damaged {what}: missing: no such sample")
    return scene


def checked_index(index: Any, where: object) -> dict[str, Any]:
    """The content of ``index.json``, or what would be written there.

    Raises:
        DataError: If it is damaged: names the entry.
    """
    what = "index of nuScenes"
    found: dict[str, Any] = {**checked(_Index, index, where, what=what)}
    known = found["samples"].keys()
    if found["missing"].keys() != known:
        raise DataError(f"{where}: damaged {what}: missing: of other scenes")
    for split, scenes in found["splits"].items():
        if not set(scenes) <= known:
            raise DataError(f"{where}: damaged {what}: splits.{split}: no such scene")
    for name in known:
        path_part(name, where)
    return found


def _projects(intrinsic: tuple[tuple[float, ...], ...]) -> bool:
    return len(intrinsic) == 3 and all(intrinsic[i][i] > 0 for i in range(3))
