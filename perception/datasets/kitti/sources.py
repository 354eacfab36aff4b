"""Where a KITTI folder keeps each sensor's files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perception.core.structures import DataError, SensorKind

SUFFIXES: Mapping[SensorKind, tuple[str, ...]] = {
    "image": (".png", ".jpg", ".jpeg"),
    "depth": (".png",),
    "points": (".bin",),
}


@dataclass(frozen=True)
class SensorSource:
    """Where one sensor's files lie and how they are read.

    Attributes:
        kind: ``image`` (PNG or JPEG), ``depth`` (16-bit PNG, metres * 256) or
            ``points`` (float32 ``.bin`` in the velodyne frame).
        folder: Folder inside ``root/subset``, or an absolute path.
        columns: For ``points``: numbers per point.
        stereo_fallback: For ``depth``: compute a missing map from the stereo pair.
    """

    kind: SensorKind
    folder: str
    columns: int = 4
    stereo_fallback: bool = False

    def __post_init__(self) -> None:
        if self.kind not in SUFFIXES:
            raise ValueError(
                f"sensor source {self.folder!r}: kind must be image, depth or "
                f"points, got {self.kind!r}"
            )


KITTI_SOURCES: Mapping[str, SensorSource] = {
    "camera": SensorSource("image", "image_2"),
    "lidar": SensorSource("points", "velodyne"),
    "depth": SensorSource("depth", "depth_2", stereo_fallback=True),
}


def find_files(
    folder: Path, suffixes: Sequence[str], required: bool = True
) -> dict[str, Path]:
    """The folder's files by frame id; of equal ids the first suffix wins.

    Raises:
        DataError: If a required folder does not exist.
    """
    if not folder.is_dir():
        if not required:
            return {}
        raise DataError(
            f"{folder}: no such folder; expected ROOT/training/{{image_2,image_3,"
            f"velodyne,calib,label_2,…}}/<frame id>{suffixes[0]}"
        )
    files: dict[str, Path] = {}
    names = sorted(os.listdir(folder))
    for suffix in suffixes:
        for name in names:
            if name.lower().endswith(suffix) and not name.startswith("."):
                files.setdefault(name[: -len(suffix)], folder / name)
    return files
