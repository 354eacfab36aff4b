"""Reading and writing the files of the KITTI object benchmark.

Every reader returns a valid value or raises a ``DataError`` that names the file;
every writer leaves either the whole new file or the old one. Those of pictures,
``perception.core.images``, are named here too: one import serves a whole frame.

Formats: Geiger et al., "Are we ready for autonomous driving? The KITTI vision
benchmark suite" (CVPR 2012), object development kit.

Shape letters: P points; N objects.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, KeysView, Mapping, Sequence
from pathlib import Path

import numpy as np

from perception.core.files import read_bytes, read_text, write_bytes
from perception.core.images import (  # noqa: F401 (re-exported)
    image_size,
    read_depth,
    read_image,
    write_depth,
    write_image,
)
from perception.core.structures import Calibration, DataError, Objects, SensorKind
from perception.datasets.reader import check_finite

# What the files of a kind of sensor are called.
SUFFIXES: Mapping[SensorKind, tuple[str, ...]] = {
    "image": (".png", ".jpg", ".jpeg"),
    "depth": (".png",),
    "points": (".bin",),
}
# Number of values behind each calibration key that we use.
_CALIB_SIZES = {"P2": 12, "P3": 12, "R0_rect": 9, "Tr_velo_to_cam": 12}


class FilesById(Mapping[str, Path]):
    """A folder's files by frame id; a path is made when asked for.

    Args:
        folder: The folder.
        names: For each frame id the file's name.
    """

    def __init__(self, folder: Path, names: dict[str, str]) -> None:
        self.folder, self._names = folder, names

    def __getitem__(self, frame_id: str) -> Path:
        return self.folder / self._names[frame_id]

    def __contains__(self, frame_id: object) -> bool:
        return frame_id in self._names

    def keys(self) -> KeysView[str]:
        """The frame ids."""
        return self._names.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def find_files(
    folder: Path, suffixes: Sequence[str], required: bool = True
) -> FilesById:
    """The folder's files by frame id; of equal ids the first suffix wins.

    Raises:
        DataError: If a required folder does not exist.
    """
    if not folder.is_dir():
        if not required:
            return FilesById(folder, {})
        raise DataError(
            f"{folder}: no such folder; expected ROOT/training/{{image_2,image_3,"
            f"velodyne,calib,label_2,…}}/<frame id>{suffixes[0]}"
        )
    names: dict[str, str] = {}
    found = sorted(name for name in os.listdir(folder) if name[0] != ".")
    for suffix in suffixes:
        end, others = len(suffix), []
        for name in found:
            if name[-end:].lower() != suffix:
                others.append(name)
            elif (frame_id := name[:-end]) not in names:
                names[frame_id] = name
        found = others
    return FilesById(folder, names)


def depth_folder(base: Path, depth_dir: str | os.PathLike) -> Path:
    """Where depth maps lie: a bare name is one in ``base``, all else a path."""
    path = Path(depth_dir).expanduser()
    return base / path if len(path.parts) == 1 else path.absolute()


def read_points(path: str | os.PathLike, columns: int = 4) -> np.ndarray:
    """Read a ``.bin`` cloud: (P, columns) float32, x, y, z in metres, then the rest.

    Raises:
        DataError: If the size is no multiple of a point's, or a value not finite.
    """
    data = read_bytes(path)
    if len(data) % (4 * columns):
        raise DataError(
            f"{path}: expected a multiple of {4 * columns} bytes "
            f"({columns} float32 per point), got {len(data)}"
        )
    points = np.frombuffer(data, dtype="<f4").reshape(-1, columns)
    return check_finite(path, points).astype(np.float32)


def write_points(path: str | os.PathLike, points: np.ndarray) -> None:
    """Write (P, 3 + F) points as little-endian float32.

    Raises:
        DataError: If the points are not finite or cannot be written.
    """
    points = np.asarray(points).astype("<f4")
    if points.ndim != 2 or not np.isfinite(points).all():
        raise DataError(
            f"{path}: points must be (P, 3 + F) and finite, got shape {points.shape}"
        )
    write_bytes(path, points.tobytes())


def read_calib(path: str | os.PathLike, *, points_sensor: str = "lidar") -> Calibration:
    """Read a calibration file; P3 (the right camera) may be missing.

    Args:
        path: A file of ``key: values`` lines with P2, R0_rect and Tr_velo_to_cam.
        points_sensor: Name to give to the sensor of the velodyne frame.

    Raises:
        DataError: If a key is missing or has the wrong number of values.
    """
    values = _read_calib_values(path)
    cam_R_raw = np.eye(4)
    cam_R_raw[:3, :3] = values["R0_rect"].reshape(3, 3)
    raw_T_velo = np.eye(4)
    raw_T_velo[:3] = values["Tr_velo_to_cam"].reshape(3, 4)
    right = values.get("P3")
    return Calibration(
        image_P_cam=values["P2"].reshape(3, 4),
        cam_T_sensor={points_sensor: cam_R_raw @ raw_T_velo},
        right_P_cam=None if right is None else right.reshape(3, 4),
    )


def write_calib(
    path: str | os.PathLike, calibration: Calibration, *, points_sensor: str = "lidar"
) -> None:
    """Write a calibration that ``read_calib`` returns unchanged.

    The rectification is part of the sensor's transform, so R0_rect is the identity.
    P0 and P1, the grey pair nobody reads, sit at the reference camera with the
    colour pair's baseline. Without a right camera P1 and P3 are left out.

    Raises:
        DataError: If ``points_sensor`` has no transform or the write fails.
    """
    if points_sensor not in calibration.cam_T_sensor:
        raise DataError(
            f"{path}: the calibration has no transform of sensor {points_sensor!r}, "
            f"only of {sorted(calibration.cam_T_sensor)}"
        )
    left, right = calibration.image_P_cam, calibration.right_P_cam
    origin = np.hstack([left[:, :3], np.zeros((3, 1))])
    matrices = {"P0": origin, "P2": left}
    if right is not None:
        shift = np.zeros((3, 4))
        shift[:, 3] = right[:, 3] - left[:, 3]
        matrices |= {"P1": origin + shift, "P3": right}
    lines = {key: matrices[key] for key in sorted(matrices)} | {
        "R0_rect": np.eye(3),
        "Tr_velo_to_cam": calibration.cam_T_sensor[points_sensor][:3],
        "Tr_imu_to_velo": np.eye(4)[:3],
    }
    text = "".join(
        f"{key}: {' '.join(f'{value:.12e}' for value in np.ravel(matrix))}\n"
        for key, matrix in lines.items()
    )
    write_bytes(path, text.encode("ascii"))


def read_objects(path: str | os.PathLike, scores: bool = False) -> Objects:
    """Read a label file (15 columns) or a result file (16, ``scores=True``).

    An empty file is a frame without objects.

    Raises:
        DataError: If a line is empty, malformed or has another number of columns.
    """
    columns = 16 if scores else 15
    text = read_text(path).rstrip()
    names, rows = [], []
    for number, line in enumerate(text.split("\n") if text else [], start=1):
        words, where = line.split(), f"{path}, line {number}"
        if len(words) != columns:
            kind = "a result with score" if scores else "a label"
            raise DataError(
                f"{where}: expected {columns} columns ({kind}), got {len(words)}"
            )
        names.append(words[0])
        rows.append(_numbers(words[1:], where))
        if not -1 <= rows[-1][1] <= 3 or rows[-1][1] % 1:
            raise DataError(
                f"{where}: occlusion must be -1, 0, 1, 2 or 3, got {words[2]}"
            )
    table = np.array(rows, dtype=np.float64).reshape(len(rows), columns - 1)
    return Objects(
        names=np.array(names, dtype=object),
        boxes_px=table[:, 3:7],
        truncation=table[:, 0],
        occlusion=table[:, 1].astype(np.int64),
        alpha=table[:, 2],
        dimensions_m=table[:, 7:10],
        location_m=table[:, 10:13],
        rotation_y=table[:, 13],
        scores=table[:, 14] if scores else None,
    )


def require_words(names: Iterable[str], where: object) -> None:
    """Raise DataError unless these class names can stand in a label file's columns."""
    for name in names:
        if str(name).split() != [str(name)]:
            raise DataError(
                f"{where}: class name {name!r} must be one word to be written in "
                "KITTI's files"
            )


def write_objects(path: str | os.PathLike, objects: Objects) -> None:
    """Write labels, or results when ``objects`` has scores, with two decimals.

    Unknown columns keep KITTI's marks (-1, -10, -1000), as ``Objects.from_boxes``
    sets them. Scores keep nine digits, so that their order survives.

    Raises:
        DataError: If a name or number cannot be stored or the write fails.
    """
    table = np.column_stack(
        [objects.alpha, objects.boxes_px, objects.dimensions_m]
        + [objects.location_m, objects.rotation_y]
    ).astype(np.float64)
    scores = objects.scores
    finite = np.isfinite(table).all() and (scores is None or np.isfinite(scores).all())
    if not finite:
        raise DataError(f"{path}: objects must have finite numbers")
    lines = []
    require_words(objects.names, path)
    for i, name in enumerate(objects.names):
        numbers = " ".join(f"{value:.2f}" for value in table[i])
        score = "" if scores is None else f" {scores[i]:.9g}"
        visible = f"{objects.truncation[i]:.2f} {objects.occlusion[i]:d}"
        lines.append(f"{name} {visible} {numbers}{score}\n")
    write_bytes(path, "".join(lines).encode())


def _read_calib_values(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The values of the keys we use, checked for number and plausibility."""
    values: dict[str, np.ndarray] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        key, _, text = line.partition(":")
        if (size := _CALIB_SIZES.get(key.strip())) is None:
            continue
        row = _numbers(text.split(), f"{path}, line {number}")
        if len(row) != size:
            raise DataError(
                f"{path}, line {number}: {key.strip()} must have {size} values, "
                f"got {len(row)}"
            )
        values[key.strip()] = np.array(row)
    missing = [key for key in _CALIB_SIZES if key not in values and key != "P3"]
    if missing:
        raise DataError(f"{path}: calibration key(s) missing: {', '.join(missing)}")
    for key in ("P2", "P3"):
        # [0] and [5] are the focal lengths, [10] the depth's own factor.
        if key in values and not values[key][[0, 5, 10]].all():
            raise DataError(f"{path}: {key} has a zero on its diagonal: no projection")
    return values


def _numbers(words: list[str], where: str) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise DataError(f"{where}: expected numbers: {error}") from error
    if not np.isfinite(numbers).all():
        raise DataError(f"{where}: numbers must be finite, got {' '.join(words)}")
    return numbers
