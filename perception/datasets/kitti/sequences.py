"""KITTI's drives as sequences: raw recordings, the tracking and the odometry benchmark.

Each drive's frames get links in a folder of KITTI's object layout, which every tool
reads, and a ``timeline.csv`` that says which frame came before which, and where the
vehicle was (GPS/IMU, or given poses). Nothing is copied. Three layouts are known:

    raw       <date>/<drive>/{image_02,image_03,velodyne_points,oxts}/data/<frame>.*
              and timestamps.txt beside data; <date>/calib_{cam_to_cam,velo_to_cam,
              imu_to_velo}.txt
    tracking  <subset>/{image_02,image_03,velodyne}/<drive>/<frame>.*
              and <subset>/{calib,label_02,oxts}/<drive>.txt
    odometry  <drive>/{image_2,image_3,velodyne,label_2}/<frame>.* and calib.txt; where
              they are there, times.txt and poses.txt (camera 0, a line per frame)

Formats: Geiger et al., "Vision meets robotics: the KITTI dataset" (IJRR 2013).

Shape letters: N frames.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from perception.core.files import claim, path_part, read_text, replacing, write_bytes
from perception.core.geometry import inverse_transform
from perception.core.locks import sole_user
from perception.core.structures import Calibration, DataError
from perception.datasets.kitti.files import SUFFIXES, find_files, write_calib
from perception.datasets.splits import write_split
from perception.datasets.timeline import TIMELINE, Instant, write_timeline

PERIOD_NS = 100_000_000  # where no times are given: KITTI's 10 Hz
_EARTH_RADIUS_M = 6_378_137.0
# What the numbers of a calibration are called in the three layouts.
_NAMES = {
    "P2": ("P2", "P_rect_02"),
    "P3": ("P3", "P_rect_03"),
    "R0": ("R0_rect", "R_rect", "R_rect_00"),
    "velo": ("Tr_velo_to_cam", "Tr_velo_cam"),
    "imu": ("Tr_imu_to_velo", "Tr_imu_velo"),
    "rect_velo": ("Tr",),
}


@dataclass(frozen=True)
class Drive:
    """One drive's files.

    Attributes:
        name: Its name, part of its frames' names.
        files: For each folder of the object layout its files by frame.
        calibration: Of all frames.
        cam_T_imu: (4, 4), None where it is not known.
        times_ns: When each frame was taken.
        oxts: For each frame GPS/IMU's numbers.
        poses: For each frame (4, 4) world_T_cam, instead of ``oxts``.
        labels: For each frame lines of a label file, where ``files`` have none.
    """

    name: str
    files: Mapping[str, Mapping[str, Path]]
    calibration: Calibration
    cam_T_imu: np.ndarray | None = None
    times_ns: Mapping[str, int] = field(default_factory=dict)
    oxts: Mapping[str, Sequence[float]] = field(default_factory=dict)
    poses: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels: Mapping[str, Sequence[str]] | None = None

    def instants(self) -> Iterator[Instant]:
        """When and where each frame was taken."""
        first = next((self.oxts[f] for f in self.frames if f in self.oxts), None)
        for number, frame in enumerate(self.frames):
            pose = self.poses.get(frame)
            if pose is None and frame in self.oxts and self.cam_T_imu is not None:
                assert first is not None
                world_T_imu = oxts_pose(self.oxts[frame], latitude_deg=first[0])
                pose = world_T_imu @ inverse_transform(self.cam_T_imu)
            time_ns = self.times_ns.get(frame, number * PERIOD_NS)
            yield Instant(f"{self.name}-{frame}", self.name, time_ns, pose)

    @property
    def frames(self) -> list[str]:
        """The frames that have a left image, in order."""
        return sorted(self.files["image_2"])


def oxts_pose(oxts: Sequence[float], *, latitude_deg: float) -> np.ndarray:
    """(4, 4) world_T_imu of GPS/IMU's numbers, as KITTI's development kit has it.

    Args:
        oxts: Latitude and longitude in degrees, altitude in metres, roll, pitch and yaw
            in radians, then more.
        latitude_deg: Where Mercator's projection is true to scale.
    """
    latitude, longitude, altitude_m, roll, pitch, yaw = oxts[:6]
    scale = np.cos(np.radians(latitude_deg)) * _EARTH_RADIUS_M
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", [roll, pitch, yaw]).as_matrix()
    north = np.log(np.tan(np.radians(90 + latitude) / 2))
    pose[:3, 3] = scale * np.radians(longitude), scale * north, altitude_m
    return pose


def find_drives(root: str | os.PathLike) -> list[Drive]:
    """The drives of a folder, whichever of the three layouts it has.

    Raises:
        DataError: If there are none, or one's calibration is damaged.
    """
    root = Path(root)
    finders: tuple[Callable[[Path], list[Drive]], ...] = (_raw, _tracking, _odometry)
    for find in finders:
        if drives := find(root):
            return drives
    raise DataError(
        f"{root}: no drives: expected <date>/<drive>/image_02/data (KITTI raw), "
        "image_02/<drive> (tracking, below training) or <drive>/image_2 (odometry)"
    )


def _raw(root: Path) -> list[Drive]:
    drives = []
    for images in sorted(
        [*root.glob("*/image_02/data"), *root.glob("*/*/image_02/data")]
    ):
        folder = images.parents[1]
        beside = [
            folder.parent / f"calib_{name}.txt"
            for name in ("cam_to_cam", "velo_to_cam", "imu_to_velo")
        ]
        calibration, cam_T_imu = _calibration(beside)
        files = {
            "image_2": _files(images, "image"),
            "image_3": _files(folder / "image_03" / "data", "image"),
            "velodyne": _files(folder / "velodyne_points" / "data", "points"),
        }
        stamps, times_ns = folder / "image_02" / "timestamps.txt", {}
        if stamps.exists():
            lines = read_text(stamps).split("\n")
            every = [_time_ns(line, stamps) for line in lines if line.strip()]
            # A line for every frame that was recorded, those without a picture too.
            times_ns = {f: every[int(f)] for f in files["image_2"] if _has(every, f)}
        found = find_files(folder / "oxts" / "data", (".txt",), required=False)
        oxts = {name: _row(read_text(path), path, 6) for name, path in found.items()}
        drives.append(Drive(folder.name, files, calibration, cam_T_imu, times_ns, oxts))
    return drives


def _has(every: Sequence[object], frame: str) -> bool:
    return frame.isdecimal() and int(frame) < len(every)


def _tracking(root: Path) -> list[Drive]:
    root = root / "training" if (root / "training" / "image_02").is_dir() else root
    drives = []
    for images in sorted((root / "image_02").glob("*/")):
        name = images.name
        calibration, cam_T_imu = _calibration([root / "calib" / f"{name}.txt"])
        files = {
            "image_2": _files(images, "image"),
            "image_3": _files(root / "image_03" / name, "image"),
            "velodyne": _files(root / "velodyne" / name, "points"),
        }
        frames, oxts, labels = sorted(files["image_2"]), {}, None
        path = root / "oxts" / f"{name}.txt"
        if path.exists():
            lines = read_text(path).strip().split("\n")
            rows = [_row(line, path, 6) for line in lines]
            oxts = {f: rows[int(f)] for f in frames if _has(rows, f)}
        path = root / "label_02" / f"{name}.txt"
        if path.exists():
            labels = _tracking_labels(path)
        drives.append(
            Drive(name, files, calibration, cam_T_imu, oxts=oxts, labels=labels)
        )
    return drives


def _tracking_labels(path: Path) -> dict[str, list[str]]:
    """For each frame the lines of an object label file."""
    labels: dict[str, list[str]] = defaultdict(list)
    for number, line in enumerate(read_text(path).strip().split("\n"), start=1):
        words = line.split()
        if len(words) != 17 or not words[0].isdecimal():
            raise DataError(
                f"{path}, line {number}: expected 17 columns (frame, track, a label), "
                f"got {line[:60]!r}"
            )
        labels[f"{int(words[0]):06d}"].append(" ".join(words[2:]))
    return labels


def _odometry(root: Path) -> list[Drive]:
    drives = []
    for path in sorted([*root.glob("calib.txt"), *root.glob("*/calib.txt")]):
        folder = path.parent
        if not (folder / "image_2").is_dir():
            continue
        calibration, cam_T_imu = _calibration([path])
        kinds = {"image_2": "image", "image_3": "image", "velodyne": "points"}
        files = {name: _files(folder / name, kind) for name, kind in kinds.items()}
        files["label_2"] = find_files(folder / "label_2", (".txt",), required=False)
        frames = sorted(files["image_2"])
        times_ns = {
            f: round(seconds[0] * 1e9)
            for f, seconds in _table(folder / "times.txt", 1, frames).items()
        }
        # Those of camera 0, in whose frame calibrations are.
        poses = {
            f: np.vstack([np.reshape(row[:12], (3, 4)), [0.0, 0.0, 0.0, 1.0]])
            for f, row in _table(folder / "poses.txt", 12, frames).items()
        }
        drives.append(
            Drive(folder.name, files, calibration, cam_T_imu, times_ns, poses=poses)
        )
    return drives


def _table(path: Path, columns: int, frames: Sequence[str]) -> dict[str, list[float]]:
    """A line of numbers for each frame; nothing if there is no such file."""
    if not path.exists():
        return {}
    lines = read_text(path).strip().split("\n")
    if len(lines) != len(frames):
        raise DataError(f"{path}: {len(lines)} lines, but {len(frames)} frames")
    return {f: _row(line, path, columns) for f, line in zip(frames, lines, strict=True)}


def _files(folder: Path, kind: str) -> Mapping[str, Path]:
    return find_files(folder, SUFFIXES[kind], required=False)  # type: ignore[index]


def _row(text: str, path: Path, columns: int) -> list[float]:
    try:
        row = [float(word) for word in text.split()]
    except ValueError as error:
        raise DataError(f"{path}: expected numbers: {error}") from error
    if len(row) < columns or not np.isfinite(row).all():
        raise DataError(f"{path}: expected {columns} finite numbers, got {text[:60]!r}")
    return row


def _time_ns(text: str, path: Path) -> int:
    """Of a line such as ``2011-09-26 13:02:25.594360375``."""
    whole, _, part = text.strip().partition(".")
    try:
        moment = datetime.strptime(whole, "%Y-%m-%d %H:%M:%S")
        nanoseconds = int(part.ljust(9, "0")[:9] or 0)
    except ValueError as error:
        raise DataError(f"{path}: not a time: {text[:60]!r}") from error
    seconds = int(moment.replace(tzinfo=timezone.utc).timestamp())
    return seconds * 1_000_000_000 + nanoseconds


def _calibration(paths: Sequence[Path]) -> tuple[Calibration, np.ndarray | None]:
    """Calibration and, where it is known, (4, 4) cam_T_imu from some files together."""
    known: dict[str, list[float]] = {}
    for path in paths:
        if path.exists():
            known |= _entries(path)
    where = ", ".join(map(str, paths))

    def numbers(what: str, shape: tuple[int, int]) -> np.ndarray | None:
        for name in _NAMES[what]:
            if name in known:
                if len(known[name]) != shape[0] * shape[1]:
                    raise DataError(f"{where}: {name} has {len(known[name])} numbers")
                return np.reshape(known[name], shape)
        return None

    left, right = numbers("P2", (3, 4)), numbers("P3", (3, 4))
    cam_T_velo = _square(numbers("rect_velo", (3, 4)))
    if cam_T_velo is None:
        turn, velo = numbers("R0", (3, 3)), _square(numbers("velo", (3, 4)))
        if turn is not None and velo is not None:
            cam_T_velo = np.eye(4)
            cam_T_velo[:3, :3] = turn
            cam_T_velo = cam_T_velo @ velo
    if left is None or cam_T_velo is None:
        raise DataError(
            f"{where}: expected the left camera's projection (P2 or P_rect_02), "
            "the rectification and the LiDAR's place"
        )
    velo_T_imu = _square(numbers("imu", (3, 4)))
    calibration = Calibration(left, {"lidar": cam_T_velo}, right)
    return calibration, None if velo_T_imu is None else cam_T_velo @ velo_T_imu


def _square(matrix: np.ndarray | None) -> np.ndarray | None:
    return None if matrix is None else np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]])


def _entries(path: Path) -> dict[str, list[float]]:
    """The rows of numbers of a calibration file by name; with or without a colon."""
    found: dict[str, list[float]] = {}
    for line in read_text(path).split("\n"):
        words = line.replace(":", " ", 1).split()
        try:
            found[words[0]] = [float(word) for word in words[1:]]
        except (ValueError, IndexError):  # a date, or an empty line
            continue
    if "R" in found and "T" in found:  # a raw recording's file of one transform
        made = np.column_stack([np.reshape(found["R"], (3, 3)), found["T"]])
        of = "Tr_imu_to_velo" if "imu" in path.name else "Tr_velo_to_cam"
        found[of] = made.ravel().tolist()
    return found


def link_sequences(root: str | os.PathLike, out: str | os.PathLike) -> list[Drive]:
    """Make a folder in KITTI's object layout of all drives below ``root``.

    ``ImageSets/drive.txt`` names every frame, ``complete.txt`` those with points, and
    ``<drive>.txt`` those of one drive.

    Raises:
        DataError: If there are no drives, a file is damaged, or ``out`` holds something
            else or cannot be written.
    """
    drives, base = find_drives(root), Path(out) / "training"
    with sole_user(out, "linking sequences"):
        made_of = {"sequences": str(Path(root).resolve())}
        claim(Path(out) / "sequences.json", made_of, taken="training")
        instants, complete = [], []
        for drive in drives:
            path_part(drive.name, root)
            labelled = drive.labels is not None or bool(drive.files.get("label_2"))
            for frame, instant in zip(drive.frames, drive.instants(), strict=True):
                name = instant.frame_id
                for folder, files in drive.files.items():
                    if frame in files:
                        path = files[frame]
                        _link(path, base / folder / f"{name}{path.suffix}")
                write_calib(base / "calib" / f"{name}.txt", drive.calibration)
                if labelled and frame not in drive.files.get("label_2", {}):
                    lines = (drive.labels or {}).get(frame, ())
                    text = "".join(f"{line}\n" for line in lines)
                    write_bytes(base / "label_2" / f"{name}.txt", text.encode())
                instants.append(instant)
                if frame in drive.files["velodyne"]:
                    complete.append(name)
            own = [f"{drive.name}-{frame}" for frame in drive.frames]
            write_split(Path(out) / "ImageSets" / f"{drive.name}.txt", own)
        write_timeline(base / TIMELINE, instants)
        names = [one.frame_id for one in instants]
        write_split(Path(out) / "ImageSets" / "drive.txt", names)
        write_split(Path(out) / "ImageSets" / "complete.txt", complete)
    return drives


def _link(path: Path, place: Path) -> None:
    with replacing(place) as temporary:
        temporary.unlink()
        temporary.symlink_to(path.resolve())
