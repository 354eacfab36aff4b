"""Work on a whole KITTI folder: cache its stereo depth, deal out its frames."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2

from perception.core.files import read_bytes, write_bytes
from perception.core.parallel import Bar, run_jobs
from perception.core.shards import WHOLE, Shard
from perception.core.structures import DataError
from perception.datasets.kitti import files
from perception.datasets.kitti.reader import read_stereo_depth
from perception.datasets.splits import random_split, write_split

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
    root: Path,
    depth_folder: Path,
    *,
    subset: str = "training",
    jobs: int = 1,
    shard: Shard = WHOLE,
) -> DepthReport:
    """Write the stereo depth of every frame that has both images, as depth PNGs.

    A depth map that is there already, readable and of the image's size, is kept:
    an interrupted run goes on where it stopped.

    Args:
        root: KITTI folder with ``subset/{image_2,image_3,calib}``.
        depth_folder: Where to write ``<frame id>.png``.
        subset: ``training`` or ``testing``.
        jobs: Number of processes; the result does not depend on it.
        shard: Only this share of the frames.

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
        for number, i in enumerate(left)
        if i in right and shard.takes(number)
    ]
    problems = run_jobs(
        _cache_one, pairs, jobs=jobs, setup=_ONE_THREAD, bar=Bar("stereo depth")
    )
    return DepthReport(sorted(set(left) - set(right)), [p for p in problems if p])


def take_depth(other: Path, depth_folder: Path) -> None:
    """Copy those depth maps of another folder that a folder lacks.

    Raises:
        DataError: If the other folder has none.
    """
    for name, path in files.find_files(other, files.SUFFIXES["depth"]).items():
        if not (depth_folder / f"{name}.png").exists():
            write_bytes(depth_folder / f"{name}.png", read_bytes(path))


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
