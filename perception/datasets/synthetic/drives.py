"""Synthetic drives in KITTI's object layout, with labels: frames in their order.

    root/training/*               a frame's files, named <drive>-<frame>
    root/training/timeline.csv    which frame came before which, where the camera was
    root/ImageSets/drive.txt      every frame
    root/synthetic.json           what determines the drives

The same streets, traffic and sensors as those of ``bag``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from perception.core.files import claim
from perception.core.geometry import inverse_transform
from perception.core.shards import Shard, at_work
from perception.datasets.splits import write_split
from perception.datasets.synthetic.bag import Recipe as BagRecipe
from perception.datasets.synthetic.bag import moment, street_of
from perception.datasets.synthetic.generate import (
    RECIPE,
    check_at_least,
    make_missing,
    parse_size,
    take_parts,
)
from perception.datasets.synthetic.kitti import FRAME_FILES, is_complete, write_made
from perception.datasets.timeline import TIMELINE, Instant, write_timeline

DRIVES_VERSION = 1


@dataclass(frozen=True)
class Recipe:
    """What determines every drive's content.

    Attributes:
        seed: Seed of the set; drive k draws from (seed, k) alone.
        width: Image width in pixels.
        height: Image height in pixels.
        seconds: Length of a drive.
        rate_hz: Frames per second.
        version: Version of the generator.
    """

    seed: int
    width: int
    height: int
    seconds: int
    rate_hz: int
    version: int = DRIVES_VERSION

    @property
    def recorded(self) -> BagRecipe:
        """The same drives as messages."""
        size = self.width, self.height
        return BagRecipe(self.seed, *size, self.seconds, self.rate_hz, "mcap")


def generate_drives(
    out: str | os.PathLike,
    *,
    drives: int,
    seconds: int = 10,
    rate: int = 10,
    seed: int = 0,
    size: str = "640x192",
    jobs: int = 1,
    progress: bool = True,
    shard: Shard | None = None,
    merge: Sequence[str] = (),
) -> Path:
    """Make drives as frames with labels; those that are there are kept.

    Args:
        out: Folder to fill; it is returned.
        drives: Number of drives.
        seconds: Length of a drive.
        rate: Frames per second.
        seed: The same seed gives the same files, whatever ``jobs``.
        size: Image size as ``WIDTHxHEIGHT`` in pixels.
        jobs: Number of worker processes, each using one core.
        progress: Whether to show a progress bar.
        shard: Make only every n-th drive; whoever makes the last one writes the split.
        merge: Folders of other machines' shards: their drives are taken first.

    Raises:
        DataError: If an argument is out of range, a folder holds another data set,
            or a file cannot be written.
    """
    check_at_least(1, drives=drives, seconds=seconds, rate=rate, jobs=jobs)
    check_at_least(0, seed=seed)
    root, recipe = Path(out), Recipe(seed, *parse_size(size), seconds, rate)
    names = [f"{number:04d}" for number in range(drives)]
    with at_work(root, "making data", shard):
        claim(root / RECIPE, asdict(recipe), taken="training")
        take_parts(root, merge, partial(_files_to_take, recipe, names=names))
        make_missing(
            partial(write_drive, root, recipe),
            names,
            partial(_complete, root, recipe),
            root=root,
            shard=shard,
            jobs=jobs,
            unit="drive",
            progress=progress,
        )
        if all(_complete(root, recipe, name) for name in names):
            instants = [one for name in names for one in _instants(recipe, name)]
            write_timeline(root / "training" / TIMELINE, instants)
            frames = [one.frame_id for one in instants]
            write_split(root / "ImageSets" / "drive.txt", frames)
    return root


def write_drive(root: Path, recipe: Recipe, name: str) -> None:
    """Make the frames of the drive ``name`` that are missing and write their files.

    Raises:
        DataError: If a file cannot be written.
    """
    street = street_of(recipe.recorded, int(name))
    for index, frame_id in enumerate(_frame_ids(recipe, name)):
        if not is_complete(root, frame_id):
            made = moment(recipe.recorded, street, int(name), index)
            write_made(root, frame_id, made.frame)


def _frame_ids(recipe: Recipe, name: str) -> list[str]:
    return [f"{name}-{n:06d}" for n in range(recipe.seconds * recipe.rate_hz)]


def _complete(root: Path, recipe: Recipe, name: str) -> bool:
    return all(is_complete(root, frame) for frame in _frame_ids(recipe, name))


def _files_to_take(
    recipe: Recipe, other: Path, root: Path, names: Sequence[str]
) -> Iterator[Path]:
    """Of the drives that are whole in another folder and not in this one."""
    for name in names:
        if _complete(other, recipe, name) and not _complete(root, recipe, name):
            for frame in _frame_ids(recipe, name):
                yield from (Path("training") / f.format(frame) for f in FRAME_FILES)


def _instants(recipe: Recipe, name: str) -> Iterator[Instant]:
    """When each frame of a drive was taken, and where the camera was."""
    street = street_of(recipe.recorded, int(name))
    for index, frame_id in enumerate(_frame_ids(recipe, name)):
        seconds = index / recipe.rate_hz
        world_T_cam = inverse_transform(street.at(seconds)[1])
        yield Instant(frame_id, name, round(seconds * 1e9), world_T_cam)
