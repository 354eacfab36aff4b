"""Pictures in a row as mp4 or gif.

Shape letters: H, W height and width.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from perception.core.files import replacing
from perception.core.structures import DataError

VIDEO_FORMATS = ("mp4", "gif")


class LazyPictures(Sequence[np.ndarray]):
    """Pictures made when they are asked for, so that few are held in memory.

    Args:
        count: How many there are.
        picture_of: Makes the picture of a number.
    """

    def __init__(self, count: int, picture_of: Callable[[int], np.ndarray]) -> None:
        self._length, self.picture_of = count, picture_of

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        """The picture of a number; slices are not needed."""
        if not 0 <= index < self._length:
            raise IndexError(index)
        return self.picture_of(index)


def write_video(
    path: str | os.PathLike, pictures: Sequence[np.ndarray], *, fps: float = 2.0
) -> None:
    """Write pictures (H, W, 3) uint8 RGB one after the other.

    Pictures of different sizes get white margins at the right and at the bottom.

    Args:
        path: Ends in ``.mp4`` (MPEG-4 part 2) or ``.gif`` (loops; 256 colours).
        pictures: At least one.
        fps: Pictures per second.

    Raises:
        DataError: If the format is unknown, there are no pictures, or the file cannot
            be written.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in VIDEO_FORMATS:
        raise DataError(f"{path}: a video must end in .mp4 or .gif")
    if not len(pictures):
        raise DataError(f"{path}: no pictures to make a video of")
    if not fps > 0:
        raise DataError(f"{path}: pictures per second must be positive, got {fps}")
    # An mp4 needs even sides.
    sizes = np.array([picture.shape[:2] for picture in pictures])
    height, width = (int(side) + side % 2 for side in sizes.max(axis=0))
    padded = (_padded(picture, height, width) for picture in pictures)
    with replacing(path) as temporary:
        write = _write_mp4 if kind == "mp4" else _write_gif
        write(temporary, padded, (height, width), fps)


def _padded(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    canvas[: picture.shape[0], : picture.shape[1]] = picture
    return canvas


def _write_mp4(
    path: Path, pictures: Iterator[np.ndarray], size: tuple[int, int], fps: float
) -> None:
    code = cv2.VideoWriter_fourcc(*"mp4v")  # type: ignore[attr-defined]
    writer = cv2.VideoWriter(str(path), code, fps, size[::-1])
    if not writer.isOpened():
        raise DataError(f"{path}: this OpenCV cannot write mp4 here; try a gif")
    try:
        for picture in pictures:
            writer.write(np.ascontiguousarray(picture[..., ::-1]))
    finally:
        writer.release()


def _write_gif(
    path: Path, pictures: Iterator[np.ndarray], size: tuple[int, int], fps: float
) -> None:
    # No dithering: it would look like an attack.
    frames = (
        Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE)
        for picture in pictures
    )
    first = next(frames)
    first.save(
        path,
        save_all=True,
        append_images=frames,
        duration=round(1000 / fps),
        loop=0,
    )
