"""Find whatever in a KITTI folder makes a training fail, or silently useless.

Every file is read. Beyond what a reader refuses, values must make sense together: the
points fall into the picture, the depth is that of the points, boxes lie in the picture,
a validation frame is none to train on.

Shape letters: P points; N objects; H, W image height and width in pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np

from perception.core.geometry import transform_points
from perception.core.parallel import Bar, run_jobs
from perception.core.structures import Calibration, DataError, Objects, class_key
from perception.datasets.kitti import files
from perception.datasets.reader import check_size
from perception.datasets.splits import check_split, listing, read_split

Result = TypeVar("Result")

CONFIG_CLASSES = ("Car", "Pedestrian", "Cyclist")  # what the configs detect
_FARTHEST_M = 1000.0  # no LiDAR reaches so far
_IN_PICTURE = 0.01  # least share of the points; all around it is 0.1 or more
_ENOUGH = 50  # points to compare a depth map with
_DEPTH_RATIO = (0.8, 1.25)  # of a depth map to the points, in the median
_ONE_THREAD = partial(cv2.setNumThreads, 1)


class _FrameFiles(NamedTuple):
    base: Path
    frame_id: str
    left: Path
    right: Path | None
    depth: Path | None


@dataclass
class _Found:
    """What one frame's files hold."""

    problems: list[str] = field(default_factory=list)
    names: Counter[str] = field(default_factory=Counter)
    labelled: bool = False

    def attempt(
        self, read: Callable[..., Result], path: Path | None, *more: object
    ) -> Result | None:
        """What ``read`` returns; None, and a problem noted, where it cannot."""
        try:
            return None if path is None else read(path, *more)
        except DataError as error:
            self.problems.append(str(error))
            return None


def check_kitti(
    root: Path, depth_folder: Path, *, subset: str = "training", jobs: int = 1
) -> list[str]:
    """Read every file of every frame and every split file.

    The right images and the depth maps may be absent, the labels too if their
    folder is.

    Returns:
        One line per problem; none if all is well.
    """
    base = root / subset
    try:
        known = files.find_files(base / "image_2", files.SUFFIXES["image"])
    except DataError as error:
        return [str(error)]
    right = files.find_files(base / "image_3", files.SUFFIXES["image"], required=False)
    depth = files.find_files(depth_folder, files.SUFFIXES["depth"], required=False)
    frames = [
        _FrameFiles(base, i, known[i], right.get(i), depth.get(i))
        for i in sorted(known)
    ]
    found = run_jobs(_check, frames, jobs=jobs, setup=_ONE_THREAD, bar=Bar("check"))
    problems = [problem for of_frame in found for problem in of_frame.problems]
    for name, suffix in (("velodyne", ".bin"), ("calib", ".txt"), ("label_2", ".txt")):
        others = files.find_files(base / name, (suffix,), required=False)
        if extra := sorted(set(others) - set(known)):
            problems.append(f"{base / name}: no image for {listing(extra)}")
    problems += _check_names(base / "label_2", found)
    return problems + _check_splits(root, subset, known)


def _check(frame: _FrameFiles) -> _Found:
    """What is in one frame's files, and what is wrong with them."""
    found = _Found()
    base, frame_id = frame.base, frame.frame_id
    calib_path = base / "calib" / f"{frame_id}.txt"
    left = found.attempt(files.read_image, frame.left)
    right = found.attempt(files.read_image, frame.right)
    depth_m = found.attempt(files.read_depth, frame.depth)
    for path, array in ((frame.right, right), (frame.depth, depth_m)):
        if array is not None and left is not None:
            found.attempt(check_size, path, array, left.shape[:2], frame.left)
    problems = found.problems
    if left is not None and left.max() - left.min() < 16:
        problems.append(f"{frame.left}: shows nothing, grey levels {_span(left)}")
    if left is not None and right is not None and np.array_equal(left, right):
        problems.append(f"{frame.right}: is the left picture, {frame.left}")
    points_path = base / "velodyne" / f"{frame_id}.bin"
    points = found.attempt(files.read_points, points_path)
    if points is not None:
        problems += _check_points(points_path, points)
    calibration = found.attempt(files.read_calib, calib_path)
    if left is not None and calibration is not None:
        size = (left.shape[0], left.shape[1])
        problems += _check_calibration(calib_path, calibration, size)
        if points is not None and len(points) and _is_metric(points):
            seen = _in_picture(points, calibration, size)
            problems += _check_view(points_path, calib_path, len(points), seen)
            if depth_m is not None and depth_m.shape == size and frame.depth:
                problems += _check_depth(frame.depth, depth_m, seen)
    if (base / "label_2").is_dir():
        label_path = base / "label_2" / f"{frame_id}.txt"
        objects = found.attempt(files.read_objects, label_path)
        if objects is not None:
            found.labelled = True
            found.names.update(map(str, objects.names))
            shape = None if left is None else left.shape
            problems += _check_boxes(label_path, objects, shape)
    return found


def _is_metric(points: np.ndarray) -> bool:
    return bool(np.abs(points[:, :3]).max(initial=0) <= _FARTHEST_M)


def _check_points(path: Path, points: np.ndarray) -> list[str]:
    """Whether (P, 4) points are metres, and their reflectance a share."""
    if not len(points):
        return [f"{path}: holds no points"]
    if not _is_metric(points):
        farthest = np.abs(points[:, :3]).max()
        what = f"{path}: coordinates of up to {farthest:.3g} m; expected float32 metres"
        doubles = np.frombuffer(points.tobytes(), "<f8")
        likely = len(doubles) % 4 == 0 and np.isfinite(doubles).all()
        if likely and _is_metric(doubles.reshape(-1, 4)):
            what += ", and these look like float64"
        return [what]
    if points[:, 3].min() < 0 or points[:, 3].max() > 1:
        return [f"{path}: reflectance must be 0 … 1, got {_span(points[:, 3])}"]
    return []


def _check_calibration(
    path: Path, calibration: Calibration, size: tuple[int, int]
) -> list[str]:
    """Whether a calibration is that of a picture of (H, W)."""
    problems = []
    u_px, v_px = calibration.image_P_cam[:2, 2] / calibration.image_P_cam[2, 2]
    if not (0 < u_px < size[1] and 0 < v_px < size[0]):
        problems.append(
            f"{path}: P2 has its centre at ({u_px:.0f}, {v_px:.0f}) px, outside the "
            f"picture of {size[1]} x {size[0]} px: it belongs to one of another size"
        )
    rotation = calibration.cam_T_sensor["lidar"][:3, :3]
    is_rotation = np.allclose(rotation @ rotation.T, np.eye(3), atol=0.02)
    if not is_rotation or np.linalg.det(rotation) < 0:
        problems.append(f"{path}: R0_rect * Tr_velo_to_cam is no rotation")
    return problems


def _in_picture(
    points: np.ndarray, calibration: Calibration, size: tuple[int, int]
) -> np.ndarray:
    """(Q, 3) column and row in px and depth in m of the points that (H, W) shows."""
    in_cam = transform_points(calibration.cam_T_sensor["lidar"], points[:, :3])
    ahead = in_cam[in_cam[:, 2] > 0.1]
    homogeneous = np.column_stack([ahead, np.ones(len(ahead))])
    projected = homogeneous @ calibration.image_P_cam.T
    pixels = projected[:, :2] / projected[:, 2:]
    inside = ((pixels >= 0) & (pixels <= np.array([size[1], size[0]]) - 1)).all(axis=1)
    return np.column_stack([pixels[inside], ahead[inside, 2]])


def _check_view(path: Path, calib: Path, total: int, seen: np.ndarray) -> list[str]:
    if len(seen) >= max(1, _IN_PICTURE * total):
        return []
    return [
        f"{path}: {len(seen)} of {total} points fall into the picture; their axes "
        f"(x ahead, y left, z up) or {calib} are wrong"
    ]


def _check_depth(path: Path, depth_m: np.ndarray, seen: np.ndarray) -> list[str]:
    """Whether a depth map (H, W) is about that of the points seen (Q, 3)."""
    if not (depth_m > 0).any():
        return [f"{path}: holds no depth at all"]
    columns, rows = np.rint(seen[:, :2]).astype(int).T
    there = depth_m[rows, columns]
    if np.count_nonzero(there) < _ENOUGH:
        return []
    ratio = float(np.median(there[there > 0] / seen[there > 0, 2]))
    if _DEPTH_RATIO[0] <= ratio <= _DEPTH_RATIO[1]:
        return []
    return [
        f"{path}: its depth is {ratio:.2g} times that of the LiDAR's points; expected "
        "metres * 256 of the same moment and camera"
    ]


def _check_boxes(
    path: Path, objects: Objects, shape: tuple[int, ...] | None
) -> list[str]:
    """Whether objects (N) have boxes with their corners in order, in the picture."""
    boxes_px, known = objects.boxes_px, ~objects.named("DontCare")
    inverted = (boxes_px[:, 2:] < boxes_px[:, :2]).any(axis=1)
    problems = [
        f"{path}, line {row + 1}: box must have x1 <= x2 and y1 <= y2, got "
        f"{boxes_px[row].tolist()}"
        for row in np.flatnonzero(inverted)
    ]
    tiny = known & ~inverted & (boxes_px.max(axis=1, initial=0) <= 1)
    if shape is not None:
        outside = (boxes_px[:, 2:] <= 0).any(axis=1)
        outside |= (boxes_px[:, :2] >= (shape[1], shape[0])).any(axis=1)
        for row in np.flatnonzero(known & outside & ~tiny):
            got = boxes_px[row].tolist()
            problems.append(f"{path}, line {row + 1}: box {got} is not in the picture")
    for row in np.flatnonzero(tiny):
        problems.append(
            f"{path}, line {row + 1}: box {boxes_px[row].tolist()} is smaller than a "
            "pixel; expected pixels, not shares of the picture"
        )
    return problems


def _check_names(folder: Path, found: Collection[_Found]) -> list[str]:
    """Whether there is any object that the configs detect."""
    if not any(one.labelled for one in found):
        return []
    names = sum((one.names for one in found), Counter())
    wanted = {class_key(name) for name in CONFIG_CLASSES}
    if wanted & {class_key(name) for name in names}:
        return []
    if not names:
        return [f"{folder}: no frame has an object"]
    return [
        f"{folder}: no object is called {', '.join(CONFIG_CLASSES)}, which the configs "
        f"detect; labels are called {listing(sorted(names))}: train.py --cfg-options "
        "classes=[...]"
    ]


def _check_splits(root: Path, subset: str, known: Mapping[str, Path]) -> list[str]:
    """Whether the split files name frames that are there, each once.

    ``test*.txt`` is about the folder ``testing``, which need not be there.
    """
    paths = files.find_files(root / "ImageSets", (".txt",), required=False)
    problems, splits = [], {}
    if paths and subset == "training":
        problems += [
            f"{root}/ImageSets/{name}.txt: missing, the configs read it"
            for name in ("train", "val")
            if name not in paths
        ]
    for name, path in sorted(paths.items()):
        there: Collection[str] = known
        try:
            splits[name] = read_split(path)
            if name.startswith("test") != (subset == "testing"):
                other = root / ("testing" if subset != "testing" else "training")
                pictures = other / "image_2"
                suffixes = files.SUFFIXES["image"]
                there = files.find_files(pictures, suffixes, False) or splits[name]
            check_split(splits[name], there, str(path))
        except DataError as error:
            problems.append(str(error))
    if both := sorted({*splits.get("train", ())} & {*splits.get("val", ())}):
        problems.append(
            f"{root}/ImageSets: frames to train on and to validate on: {listing(both)}"
        )
    return problems


def _span(values: np.ndarray) -> str:
    return f"{values.min():g} … {values.max():g}"
