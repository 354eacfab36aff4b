"""Work on a whole KITTI folder: cache its stereo depth, check its every file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np

from perception.core.files import files_in
from perception.core.parallel import Bar, run_jobs
from perception.core.structures import DataError
from perception.datasets.kitti import files
from perception.datasets.kitti.reader import read_stereo_depth
from perception.datasets.reader import check_size
from perception.datasets.splits import (
    check_split,
    listing,
    random_split,
    read_split,
    write_split,
)

Result = TypeVar("Result")

_ONE_THREAD = partial(cv2.setNumThreads, 1)


class DepthReport(NamedTuple):
    """Frames that got no depth.

    Attributes:
        without_right: Ids of the frames that have no right image.
        problems: One line per frame whose files could not be used.
    """

    without_right: list[str]
    problems: list[str]


def cache_stereo_depth(
    root: Path, depth_folder: Path, *, subset: str = "training", jobs: int = 1
) -> DepthReport:
    """Write the stereo depth of every frame that has both images, as depth PNGs.

    A depth map that is there already, readable and of the image's size, is kept:
    an interrupted run goes on where it stopped.

    Args:
        root: KITTI folder with ``subset/{image_2,image_3,calib}``.
        depth_folder: Where to write ``<frame id>.png``.
        subset: ``training`` or ``testing``.
        jobs: Number of processes; the result does not depend on it.

    Returns:
        Which frames got no depth.

    Raises:
        DataError: If a folder is missing or a depth map cannot be written.
    """
    base = root / subset
    left = files.find_files(base / "image_2", files.SUFFIXES["image"])
    right = files.find_files(base / "image_3", files.SUFFIXES["image"], required=False)
    pairs = [
        (left[i], right[i], base / "calib" / f"{i}.txt", depth_folder / f"{i}.png")
        for i in left
        if i in right
    ]
    problems = run_jobs(
        _cache_one, pairs, jobs=jobs, setup=_ONE_THREAD, bar=Bar("stereo depth")
    )
    return DepthReport(sorted(set(left) - set(right)), [p for p in problems if p])


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
    problems = [problem for of_frame in found for problem in of_frame]
    for name, suffix in (("velodyne", ".bin"), ("calib", ".txt"), ("label_2", ".txt")):
        others = files.find_files(base / name, (suffix,), required=False)
        if extra := sorted(set(others) - set(known)):
            problems.append(f"{base / name}: no image for {listing(extra)}")
    splits = files_in(root / "ImageSets", ".txt")
    if splits and subset == "training":
        problems += [
            f"{root}/ImageSets/{name}.txt: missing, the configs read it"
            for name in ("train", "val")
            if name not in [path.stem for path in splits]
        ]
    for path in splits:
        try:
            check_split(read_split(path), known, str(path))
        except DataError as error:
            problems.append(str(error))
    return problems


def write_random_split(
    root: Path, folder: Path, *, seed: int, val_fraction: float, subset: str
) -> None:
    """Write ``folder/train.txt`` and ``val.txt``, which must not exist yet.

    Raises:
        DataError: If a split is there already or cannot be written.
    """
    frame_ids = files.find_files(root / subset / "image_2", files.SUFFIXES["image"])
    fractions = {"train": 1 - val_fraction, "val": val_fraction}
    splits = random_split(frame_ids, seed=seed, fractions=fractions)
    for name in splits:
        if (path := folder / f"{name}.txt").exists():
            raise DataError(f"{path}: exists; remove it or choose another folder")
    for name, part in splits.items():
        write_split(folder / f"{name}.txt", part)
        print(f"{folder / name}.txt: {len(part)} frames")


class _FrameFiles(NamedTuple):
    base: Path
    frame_id: str
    left: Path
    right: Path | None
    depth: Path | None


def _cache_one(paths: tuple[Path, Path, Path, Path]) -> str | None:
    """Write one depth map unless it is there; returns what is wrong with the input."""
    left, right, calib, depth = paths
    try:
        if depth.exists() and files.read_depth(depth).shape == files.image_size(left):
            return None
    except DataError:
        pass  # A damaged map is computed again.
    try:
        depth_m = read_stereo_depth(left, right, files.read_calib(calib))
    except DataError as error:
        return str(error)
    files.write_depth(depth, depth_m)
    return None


def _check(frame: _FrameFiles) -> list[str]:
    """What is wrong with one frame's files."""
    problems: list[str] = []

    def attempt(
        read: Callable[..., Result], path: Path | None, *more: object
    ) -> Result | None:
        try:
            return None if path is None else read(path, *more)
        except DataError as error:
            problems.append(str(error))
            return None

    base, frame_id = frame.base, frame.frame_id
    left = attempt(files.read_image, frame.left)
    others = ((frame.right, files.read_image), (frame.depth, files.read_depth))
    for path, read in others:
        array = attempt(read, path)
        if array is not None and left is not None:
            attempt(check_size, path, array, left.shape[:2], frame.left)
    points_path = base / "velodyne" / f"{frame_id}.bin"
    points = attempt(files.read_points, points_path)
    if points is not None and not len(points):
        problems.append(f"{points_path}: holds no points")
    attempt(files.read_calib, base / "calib" / f"{frame_id}.txt")
    if (base / "label_2").is_dir():
        label_path = base / "label_2" / f"{frame_id}.txt"
        objects = attempt(files.read_objects, label_path)
        if objects is not None:
            problems += _check_boxes(label_path, objects.boxes_px)
    return problems


def _check_boxes(path: Path, boxes_px: np.ndarray) -> list[str]:
    inverted = (boxes_px[:, 2:] < boxes_px[:, :2]).any(axis=1)
    return [
        f"{path}, line {row + 1}: box must have x1 <= x2 and y1 <= y2, got "
        f"{boxes_px[row].tolist()}"
        for row in np.flatnonzero(inverted)
    ]
