"""Write random street scenes as a KITTI object folder, in parallel and resumably."""

from __future__ import annotations

import multiprocessing
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from perception.core.files import claim
from perception.core.structures import DataError
from perception.datasets.splits import write_split

# Raise it when the same seed gives other scenes: old and new frames must not mix.
GENERATOR_VERSION = 1
MIN_SIZE = (96, 32)
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# The label comes last: a frame that has one is complete.
FRAME_FILES = (
    "image_2/{}.png",
    "image_3/{}.png",
    "velodyne/{}.bin",
    "depth_2/{}.png",
    "calib/{}.txt",
    "label_2/{}.txt",
)


@dataclass(frozen=True)
class Recipe:
    """What determines every frame's content.

    Attributes:
        seed: Seed of the set; frame k draws from (seed, k) alone.
        width: Image width in pixels.
        height: Image height in pixels.
        full_lidar: Whether clouds span 360° instead of the image.
        version: Version of the generator.
    """

    seed: int
    width: int
    height: int
    full_lidar: bool = False
    version: int = GENERATOR_VERSION


def parse_size(text: str) -> tuple[int, int]:
    """Width and height in pixels of a text like ``640x192``.

    Raises:
        DataError: If it is malformed or too small to show anything.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.strip())
    if match is None:
        raise DataError(f"--size must be WIDTHxHEIGHT, e.g. 640x192, got {text!r}")
    width, height = int(match[1]), int(match[2])
    if width < MIN_SIZE[0] or height < MIN_SIZE[1]:
        raise DataError(
            f"--size must be at least {MIN_SIZE[0]}x{MIN_SIZE[1]}, got {text!r}"
        )
    return width, height


def generate(
    out: str | os.PathLike,
    *,
    frames: int,
    val_frames: int = 0,
    seed: int = 0,
    size: str = "640x192",
    jobs: int = 1,
    full_lidar: bool = False,
    progress: bool = True,
) -> Path:
    """Make a synthetic data set; frames that are already complete are kept.

    Args:
        out: Folder to fill; it holds ``training`` and ``ImageSets`` afterwards.
        frames: Number of training frames, named 000000 onwards.
        val_frames: Number of validation frames, named after the training frames.
        seed: The same seed gives the same files, whatever ``jobs``.
        size: Image size as ``WIDTHxHEIGHT`` in pixels.
        jobs: Number of worker processes, each using one core.
        full_lidar: Keep the LiDAR's 360° instead of what the image shows.
        progress: Whether to show a progress bar.

    Returns:
        The folder.

    Raises:
        DataError: If an argument is out of range, the folder holds another data set,
            or a file cannot be written.
    """
    check_at_least(1, frames=frames)
    check_at_least(0, val_frames=val_frames, seed=seed)
    check_at_least(1, jobs=jobs)
    root, recipe = Path(out), Recipe(seed, *parse_size(size), full_lidar)
    claim(root / "synthetic.json", asdict(recipe), taken="training")
    names = [f"{index:06d}" for index in range(frames + val_frames)]
    todo = [index for index, name in enumerate(names) if not _complete(root, name)]
    work = [partial(write_frame, root, recipe, index) for index in todo]
    run_jobs(work, total=len(names), jobs=jobs, unit="frame", progress=progress)
    splits = {"train": names[:frames], "val": names[frames:], "trainval": names}
    for split, ids in splits.items():
        path = root / "ImageSets" / f"{split}.txt"
        if ids:
            write_split(path, ids)
        else:
            # Left by a run that had validation frames, it would overlap now.
            path.unlink(missing_ok=True)
    return root


def check_at_least(low: int, **given: int) -> None:
    """Raise DataError if an argument is below ``low``; names it."""
    for name, value in given.items():
        if value < low:
            raise DataError(f"{name} must be at least {low}, got {value}")


def _complete(root: Path, name: str) -> bool:
    return all((root / "training" / f.format(name)).exists() for f in FRAME_FILES)


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Make processes started inside use one thread per library, as ours must."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def run_jobs(
    work: Sequence[Callable[[], None]],
    *,
    total: int,
    jobs: int,
    unit: str,
    progress: bool = True,
) -> None:
    """Make what is missing of a set in worker processes.

    Even one job runs in a worker, so that all frames are computed with the same
    number of threads, on which the last bits of a result may depend.

    Args:
        work: Makes one frame (or scene) each; can be pickled.
        total: Frames of the whole set, for the progress bar.
        jobs: Number of worker processes.
        unit: What one of them makes.
        progress: Whether to show a progress bar.
    """
    bar = tqdm(
        total=total,
        initial=total - len(work),
        desc="synthetic scenes",
        unit=unit,
        disable=not progress,
        smoothing=0.05,
    )
    context = multiprocessing.get_context("spawn")
    with bar, _single_threaded():
        if not work:
            return
        pool = ProcessPoolExecutor(min(jobs, len(work)), mp_context=context)
        try:
            waiting = [pool.submit(make) for make in work]
            for done in as_completed(waiting):
                done.result()
                bar.update()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def write_frame(root: Path, recipe: Recipe, index: int) -> None:
    """Make frame ``index`` and write its files below ``root``/training.

    Raises:
        DataError: If a file cannot be written.
    """
    # Imported here, in the worker: Open3D takes a second and reads the thread count.
    from perception.datasets.kitti import files as kitti_io
    from perception.datasets.synthetic.frame import make_frame

    rng = np.random.default_rng((recipe.seed, index))
    made = make_frame(rng, recipe.width, recipe.height, full_lidar=recipe.full_lidar)
    image_2, image_3, velodyne, depth_2, calib, label_2 = (
        root / "training" / file.format(f"{index:06d}") for file in FRAME_FILES
    )
    kitti_io.write_image(image_2, made.left_rgb)
    kitti_io.write_image(image_3, made.right_rgb)
    kitti_io.write_points(velodyne, made.points)
    kitti_io.write_depth(depth_2, made.depth_m)
    kitti_io.write_calib(calib, made.calibration)
    kitti_io.write_objects(label_2, made.objects)
