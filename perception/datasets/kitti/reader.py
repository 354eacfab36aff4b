"""A folder in KITTI's object layout as a sequence of frames.

    root/ImageSets/<split>.txt
    root/<subset>/{image_2,image_3,velodyne,calib,label_2,depth_2}/<frame id>.*
    root/<subset>/timeline.csv    for sequences, see ``perception.datasets.timeline``

Real and synthetic data share this layout and this reader.

Shape letters: H, W image height and width in pixels; P points.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from perception.core.images import MAX_PIXELS
from perception.core.structures import (
    Calibration,
    DataError,
    Frame,
    Objects,
    SensorKind,
)
from perception.datasets.kitti.files import (
    SUFFIXES,
    FilesById,
    depth_folder,
    find_files,
    image_size,
    read_calib,
    read_depth,
    read_image,
    read_objects,
    read_points,
)
from perception.datasets.reader import FrameReader, check_size, pick_sources
from perception.datasets.splits import check_split, listing, read_split
from perception.datasets.stereo import stereo_depth
from perception.datasets.timeline import (
    TIMELINE,
    Predecessor,
    predecessors,
    read_timeline,
)

logger = logging.getLogger(__name__)
_COMPUTED = (
    "%s: %d of %d frames have no file for sensor %r: it is computed from the stereo "
    "pair at every access; `tools/create_data.py kitti --depth` does so once for all"
)


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


class KittiFrames(FrameReader):
    """Frames of a KITTI folder, read when asked for.

    Which files exist is settled at construction, so that a missing one is found
    before a training starts and not in the middle of it.

    Args:
        root: The folder that holds ``subset`` and ``ImageSets``.
        split: Name of a file in ``ImageSets``, path of such a file (ending in
            ``.txt``), the frame ids themselves, or ``"all"`` for every frame.
        subset: ``training`` or ``testing``.
        sources: For each sensor where and how to read it, as ``SensorSource`` or a
            dict of its arguments.
        sensors: Which of the sources to read; None reads all.
        optional_sensors: Sensors that a frame may lack; they are then absent from
            its ``sensors``.
        image_dir: Folder of the reference (left) image, whose size is the frame's.
        right_dir: Folder of the right image, for the stereo fallback.
        label_dir: Folder of the labels; without it ``objects`` is None.
        depth_dir: Folder of the depth maps instead of the sources': a name in
            ``root/subset``, or a path anywhere.
        max_pixels: Pictures of more pixels are refused before they are decoded.

    Raises:
        DataError: If a folder, a file of a sensor that is not optional, or the
            split is missing or wrong; on access, if a file is damaged or its
            image size disagrees with the reference image's.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        split: str | os.PathLike | Sequence[str] = "all",
        *,
        subset: str = "training",
        sources: Mapping[str, SensorSource | Mapping] = KITTI_SOURCES,
        sensors: Sequence[str] | None = None,
        optional_sensors: Sequence[str] = (),
        image_dir: str = "image_2",
        right_dir: str = "image_3",
        label_dir: str = "label_2",
        depth_dir: str | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._max_pixels = max_pixels
        self.base = Path(root) / subset
        picked = pick_sources(SensorSource, sources, sensors, optional_sensors)
        if depth_dir is not None:
            folder = str(depth_folder(self.base, depth_dir))
            picked |= {
                name: replace(source, folder=folder)
                for name, source in picked.items()
                if source.kind == "depth"
            }
        self.sources = picked
        self._images = find_files(self.base / image_dir, SUFFIXES["image"])
        self._right = find_files(self.base / right_dir, SUFFIXES["image"], False)
        self._calibs = find_files(self.base / "calib", (".txt",))
        self._labels: FilesById | None = None
        self.frame_ids = _split_ids(Path(root), split, self._images)
        self._ids = set(self.frame_ids)
        self._require("calibration file", self._calibs.keys(), self.base / "calib")
        if (self.base / label_dir).is_dir():
            self._labels = find_files(self.base / label_dir, (".txt",))
            self._require("label file", self._labels.keys(), self.base / label_dir)
        self._files = {
            name: self._find_sensor(name, name in optional_sensors)
            for name in self.sources
        }
        self._before: dict[int, Predecessor] = {}
        self._times_ns: dict[str, int] = {}
        if (timeline := self.base / TIMELINE).exists():
            instants = read_timeline(timeline)
            self._before = predecessors(instants, self.frame_ids)
            self._times_ns = {one.frame_id: one.time_ns for one in instants}

    def previous(self, number: int) -> Predecessor | None:
        """The latest earlier frame of the drive that the split has."""
        return self._before.get(number)

    def time_ns(self, number: int) -> int | None:
        """The timeline's."""
        return self._times_ns.get(self.frame_ids[number])

    def _find_sensor(self, name: str, optional: bool) -> FilesById:
        """Files of one sensor by frame id, after checking that none is missing."""
        source = self.sources[name]
        folder = self.base / source.folder
        stereo = source.stereo_fallback and bool(self._right)
        files = find_files(folder, SUFFIXES[source.kind], not (optional or stereo))
        present = files.keys() | self._right.keys() if stereo else files.keys()
        if not optional:
            wanted = f"{name!r} file, and right image," if stereo else f"{name!r} file"
            self._require(wanted, present, folder)
        computed = len((self._ids - files.keys()) & present)
        if computed:
            logger.warning(_COMPUTED, folder, computed, len(self), name)
        return files

    def _require(self, what: str, files: Set[str], folder: Path) -> None:
        if lacking := self._ids - files:
            missing = [i for i in self.frame_ids if i in lacking]
            raise DataError(
                f"{folder}: {what} missing for frame(s) {listing(missing)}; "
                "leave them out of the split or make the sensor optional"
            )

    def labels(self, number: int) -> Objects | None:
        """The labels of frame ``number``, None without a label folder."""
        if self._labels is None:
            return None
        return read_objects(self._labels[self.frame_ids[number]])

    def read(self, number: int) -> Frame:
        """Frame ``number``, read from its files."""
        frame_id = self.frame_ids[number]
        image_path = self._images[frame_id]
        size = image_size(image_path)
        calib_path = self._calibs[frame_id]
        calibration = read_calib(calib_path, points_sensor="points")
        velo = calibration.cam_T_sensor["points"]
        points = [name for name, one in self.sources.items() if one.kind == "points"]
        calibration = replace(calibration, cam_T_sensor=dict.fromkeys(points, velo))
        used = {"calib": str(calib_path)}
        objects = self.labels(number)
        if self._labels is not None:
            used["objects"] = str(self._labels[frame_id])
        frame = Frame(frame_id, {}, calibration, size, objects, used)
        arrays = {}
        for name in self.sources:
            if (read := self._read_sensor(name, frame)) is not None:
                arrays[name], used[name] = read
        return replace(frame, sensors=arrays)

    def _read_sensor(self, name: str, frame: Frame) -> tuple[np.ndarray, str] | None:
        """The sensor's array and where it came from, None if the frame lacks it."""
        source, path = self.sources[name], self._files[name].get(frame.frame_id)
        if path is None:
            right = self._right.get(frame.frame_id)
            if not source.stereo_fallback or right is None:
                return None
            left = self._images[frame.frame_id]
            depth_m = read_stereo_depth(
                left, right, frame.calibration, max_pixels=self._max_pixels
            )
            return depth_m, f"stereo pair {left}, {right}"
        if source.kind == "points":
            return read_points(path, source.columns), str(path)
        read = read_image if source.kind == "image" else read_depth
        array = read(path, max_pixels=self._max_pixels)
        check_size(path, array, frame.image_size, self._images[frame.frame_id])
        return array, str(path)


def read_stereo_depth(
    left: Path, right: Path, calibration: Calibration, *, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """(H, W) float32 metres, 0 = no match, from a pair of image files.

    Raises:
        DataError: If a picture is damaged, the sizes disagree or P3 is unknown.
    """
    left_rgb = read_image(left, max_pixels=max_pixels)
    right_rgb = read_image(right, max_pixels=max_pixels)
    try:
        return stereo_depth(left_rgb, right_rgb, calibration)
    except DataError as error:
        raise DataError(f"{left}, {right}: {error}") from error


def _split_ids(
    root: Path, split: str | os.PathLike | Sequence[str], known: Mapping[str, Path]
) -> list[str]:
    if split == "all":
        return check_split(sorted(known), known, str(root))
    if not isinstance(split, str | os.PathLike):
        return check_split(split, known, f"{root}: the given ids")
    path = Path(split)
    if path.suffix != ".txt":
        path = root / "ImageSets" / f"{split}.txt"
    return check_split(read_split(path), known, str(path))
