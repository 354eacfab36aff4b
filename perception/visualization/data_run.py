"""What ``tools/visualize.py data`` does: frames of a data set as pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast, get_args

from tqdm import tqdm

from perception.core.config import load_config
from perception.core.structures import DataError, Frame
from perception.datasets.kitti.reader import KITTI_SOURCES, KittiFrames
from perception.datasets.loading import Part, build_dataset
from perception.evaluation.robustness.subject import choose_frames
from perception.visualization.frame_figure import save_frames
from perception.visualization.sheet import MIN_WIDTH

Chosen = tuple[Sequence[Frame], list[int], list[str]]


def draw_dataset(
    data: str,
    out: str,
    *,
    split: str | None = None,
    frames: Sequence[str] | None = None,
    num: int = 8,
    width: int = 1600,
) -> Iterator[Path]:
    """Draw frames with their labels; yields each file when it is written.

    Args:
        data: A folder in KITTI's layout, or a config, whose reader is used then.
        out: Folder of the pictures.
        split: Name of a split file; of a config ``train``, ``val`` or ``test``.
        frames: Names of the frames; None takes ``num`` spread evenly over the split.
        num: How many frames.
        width: Width of a sheet in pixels.

    Raises:
        DataError: If anything asked for is missing or impossible.
    """
    if width < MIN_WIDTH:
        raise DataError(f"--width must be at least {MIN_WIDTH}, got {width}")
    choose = _of_config if data.endswith(".py") else _of_folder
    found, chosen, sensors = choose(data, split, frames, num)
    shown = (found[index] for index in chosen)
    paths = save_frames(shown, out, width=width, sensors=sensors)
    yield from tqdm(
        paths, total=len(chosen), desc="drawing", unit="frame", disable=None
    )


def _of_folder(
    data: str, split: str | None, frames: Sequence[str] | None, num: int
) -> Chosen:
    """Frames of a folder in KITTI's layout, which of them, and sensors to draw."""
    optional = tuple(KITTI_SOURCES)
    found = KittiFrames(data, frames or split or "all", optional_sensors=optional)
    count = len(found) if frames else min(num, len(found))
    chosen = [i * len(found) // count for i in range(count)]
    return found, chosen, list(KITTI_SOURCES)


def _of_config(
    data: str, split: str | None, frames: Sequence[str] | None, num: int
) -> Chosen:
    """Frames of a config's reader, which of them, and the detector's sensors."""
    split = split or "test"
    if split not in get_args(Part):
        raise DataError(f"--split of a config is train, val or test, got {split!r}")
    config = load_config(data)
    dataset = build_dataset(config, cast(Part, split))
    sensors = list(config.model.data_preprocessor.sensors)
    return dataset.frames, choose_frames(dataset, frames, num), sensors
