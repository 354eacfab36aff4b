"""Which frames belong to a split: split files, and reproducible random splits."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from perception.core.files import path_part, read_text, write_bytes
from perception.core.structures import DataError


def read_split(path: str | os.PathLike) -> list[str]:
    """The frame ids of a split file, one per line; blank lines are skipped.

    Raises:
        DataError: If the file cannot be read or a line is not one id.
    """
    frame_ids = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        words = line.split()
        if len(words) > 1:
            raise DataError(f"{path}, line {number}: expected one frame id")
        frame_ids += [path_part(word, f"{path}, line {number}") for word in words]
    return frame_ids


def write_split(path: str | os.PathLike, frame_ids: Sequence[str]) -> None:
    """Write a split file, one id per line.

    Raises:
        DataError: If it cannot be written.
    """
    write_bytes(path, "".join(f"{i}\n" for i in frame_ids).encode())


def check_split(
    frame_ids: Sequence[str], known: Collection[str], where: str
) -> list[str]:
    """``frame_ids`` as a list, once they are unique, known and not empty.

    Args:
        frame_ids: The split.
        known: Ids of the frames there are.
        where: What to call the split in an error.

    Raises:
        DataError: If an id is repeated or unknown, or there is none.
    """
    frame_ids = list(frame_ids)
    if not frame_ids:
        raise DataError(f"{where}: the split has no frames")
    unique, counts = np.unique(frame_ids, return_counts=True)
    if (counts > 1).any():
        raise DataError(
            f"{where}: repeated frame ids: {listing(unique[counts > 1].tolist())}"
        )
    if lacking := set(frame_ids).difference(known):
        unknown = [frame_id for frame_id in frame_ids if frame_id in lacking]
        raise DataError(f"{where}: no such frames: {listing(unknown)}")
    return frame_ids


def random_split(
    frame_ids: Collection[str], *, seed: int, fractions: Mapping[str, float]
) -> dict[str, list[str]]:
    """Deal frames out at random; the same seed and ids give the same split.

    The result does not depend on the order of ``frame_ids``.

    Args:
        frame_ids: All frames.
        seed: Seed of the shuffle.
        fractions: Share of each split by name, in sum at most 1.

    Returns:
        For each name its ids, sorted.

    Raises:
        ValueError: If a fraction is not within (0, 1] or their sum exceeds 1.
        DataError: If there are so few frames that a split would be empty.
    """
    shares = np.array(list(fractions.values()), dtype=np.float64)
    if not ((shares > 0) & (shares <= 1)).all() or shares.sum() > 1 + 1e-9:
        raise ValueError(f"fractions must be in (0, 1], in sum <= 1, got {fractions}")
    ordered = np.array(sorted(set(frame_ids)), dtype=object)
    shuffled = ordered[np.random.default_rng(seed).permutation(len(ordered))]
    ends = np.rint(np.cumsum(shares) * len(ordered)).astype(int)
    parts = np.split(shuffled, ends)
    split = {name: sorted(part) for name, part in zip(fractions, parts, strict=False)}
    if empty := [name for name, part in split.items() if not part]:
        raise DataError(
            f"{len(ordered)} frame(s) are too few for a split with {dict(fractions)}: "
            f"{listing(empty)} would be empty"
        )
    return split


def listing(names: Sequence[str], shown: int = 5) -> str:
    """``"a, b, c … (7 in all)"``: the first few names, for a message."""
    text = ", ".join(map(str, names[:shown]))
    return text if len(names) <= shown else f"{text} … ({len(names)} in all)"
