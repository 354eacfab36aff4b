"""What the readers of data sets share: frames in order, and sensors by name."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TypeVar, cast, overload

import numpy as np

from perception.core.structures import DataError, Frame, Objects
from perception.datasets.timeline import Predecessor

Source = TypeVar("Source")


class FrameReader(Sequence[Frame]):
    """Frames of a data set, read when asked for; a subclass says how to read one.

    Attributes:
        frame_ids: Their names, in order.
    """

    frame_ids: list[str]

    @abstractmethod
    def read(self, number: int) -> Frame:
        """Frame ``number``, 0 … len - 1, read from its files."""

    def previous(self, number: int) -> Predecessor | None:
        """The frame before frame ``number`` in its drive, None where none is known."""
        return None

    def time_ns(self, number: int) -> int | None:
        """When the picture of frame ``number`` was taken, None where it is unknown."""
        return None

    def __len__(self) -> int:
        return len(self.frame_ids)

    @overload
    def __getitem__(self, index: int) -> Frame: ...

    @overload
    def __getitem__(self, index: slice) -> list[Frame]: ...

    def __getitem__(self, index: int | slice) -> Frame | list[Frame]:
        """The frame at ``index``, or those of a slice."""
        numbers = range(len(self))[index]
        if isinstance(numbers, range):
            return [self.read(number) for number in numbers]
        return self.read(numbers)


def labels_of(frames: Sequence[Frame], number: int) -> Objects | None:
    """The labels of one frame, without its sensors if its reader has ``labels``."""
    read = getattr(frames, "labels", None)
    labels: Objects | None = read(number) if read else frames[number].objects
    return labels


def pick_sources(
    source_class: type[Source],
    sources: Mapping[str, Source | Mapping],
    sensors: Sequence[str] | None,
    optional_sensors: Sequence[str],
) -> dict[str, Source]:
    """The sources of the wanted sensors, in their order, dicts made into sources.

    Args:
        source_class: What a dict's entries are the arguments of.
        sources: For each sensor its source.
        sensors: The wanted ones; None takes all.
        optional_sensors: Sensors that a frame may lack.

    Raises:
        ValueError: If a sensor has no source, or one cannot be made.
    """
    wanted = list(sources if sensors is None else sensors)
    if unknown := [n for n in [*wanted, *optional_sensors] if n not in sources]:
        raise ValueError(f"sensors {unknown} have no source; known: {list(sources)}")
    picked = {name: sources[name] for name in wanted}
    made = {}
    for name, source in picked.items():
        if not isinstance(source, source_class):
            try:
                source = source_class(**cast(Mapping, source))
            except TypeError as error:  # an argument too few or too many
                raise DataError(f"source of sensor {name!r}: {error}") from error
        made[name] = source
    return made


def check_size(
    path: str | os.PathLike, array: np.ndarray, size: tuple[int, int], owner: object
) -> None:
    """Raise DataError unless a file's picture has the (H, W) ``size`` of ``owner``."""
    if array.shape[:2] != size:
        raise DataError(
            f"{path}: size {array.shape[:2]} disagrees with {size} of {owner} "
            "(height, width)"
        )


def check_finite(path: str | os.PathLike, points: np.ndarray) -> np.ndarray:
    """``points`` (P, C) of a file, or DataError if one holds NaN or infinity."""
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        raise DataError(
            f"{path}: {np.count_nonzero(~finite)} of {len(points)} points are not "
            f"finite, the first is point {np.argmin(finite)}"
        )
    return points
