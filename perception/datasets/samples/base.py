"""What readers of labelled samples share: each is a frame with one object, itself.

Shape letters: H, W, C of one sensor's array; a signal over T moments has H = 1, W = T.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from perception.core.structures import Calibration, DataError, Frame, Objects
from perception.datasets.reader import FrameReader


class SampleReader(FrameReader):
    """Samples of one class each, kept in memory once they have been read.

    Args:
        frame_ids: Their names, in order.
        names: The class of each.
        sensors: Names of the arrays that are wanted.
    """

    def __init__(
        self, frame_ids: Sequence[str], names: Sequence[str], sensors: Sequence[str]
    ) -> None:
        self.frame_ids = list(frame_ids)
        self.names, self.sensors = list(names), tuple(sensors)
        self._read: dict[int, Frame] = {}

    @abstractmethod
    def arrays(self, number: int) -> dict[str, np.ndarray]:
        """{sensor: (H, W, C) or (H, W) float32} of a sample, in physical units."""

    def read(self, number: int) -> Frame:
        """Sample ``number``; its object is as large as its largest array."""
        if number not in self._read:
            frame_id, arrays = self.frame_ids[number], self.arrays(number)
            for name in self.sensors:
                if not np.isfinite(arrays[name]).all():
                    raise DataError(f"sample {frame_id}: {name} has values not finite")
            wanted = {name: arrays[name] for name in self.sensors}
            height, width = np.max([a.shape[:2] for a in wanted.values()], axis=0)
            size = max(int(height), 4), max(int(width), 4)
            label = np.array([self.names[number]], dtype=object)
            box_px = np.array([[0.0, 0.0, size[1], size[0]]])
            self._read[number] = Frame(
                frame_id,
                wanted,
                Calibration(np.eye(3, 4)),
                size,
                Objects.from_boxes(label, box_px),
            )
        return self._read[number]


def open_packed(path: Path, keys: Sequence[str]) -> Mapping[str, np.ndarray]:
    """The arrays of an ``.npz`` file, never unpickled; read once for several splits.

    Raises:
        DataError: If it is missing, damaged, or lacks one of the keys.
    """
    try:
        return _packed(path, tuple(keys), path.stat().st_mtime_ns)
    except (OSError, ValueError, EOFError, KeyError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not a readable .npz file ({error})") from error


@lru_cache(maxsize=1)
def _packed(path: Path, keys: tuple[str, ...], changed: int) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        if missing := [key for key in keys if key not in file]:
            raise DataError(f"{path}: lacks {missing}, has {sorted(file)}")
        return {key: file[key] for key in keys}


def members(
    split: str | Sequence[str],
    splits: Mapping[str, Callable[[int], bool]],
    frame_ids: Sequence[str],
    where: Path,
) -> list[int]:
    """Numbers of the samples of a split, or of those named.

    Args:
        split: Its name, ``all``, or names of samples.
        splits: For each name which samples belong to it.
        frame_ids: Of all samples.
        where: For errors.

    Raises:
        DataError: If there is no such split or sample, or it is empty.
    """
    numbers = range(len(frame_ids))
    if split == "all":
        chosen = list(numbers)
    elif not isinstance(split, str):
        known = {frame_id: n for n, frame_id in enumerate(frame_ids)}
        if missing := [one for one in split if one not in known]:
            raise DataError(f"{where}: no sample {missing[0]!r}")
        chosen = [known[one] for one in split]
    elif split in splits:
        chosen = [n for n in numbers if splits[split](n)]
    else:
        raise DataError(
            f"{where}: no split {split!r}; expected {', '.join([*splits, 'all'])}"
        )
    if not chosen:
        raise DataError(f"{where}: split {split!r} has no samples")
    return chosen
