"""Which frame came before which, when, and where the camera was.

A folder in KITTI's layout may say so beside its frames:

    root/<subset>/timeline.csv    frame,sequence,time_ns,world_T_cam

``world_T_cam`` is empty where the way is not known, else the twelve numbers of the
upper rows of the camera's pose, separated by spaces, as KITTI's odometry has them.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perception.core.files import path_part, read_text, write_bytes
from perception.core.geometry import inverse_transform
from perception.core.structures import DataError

TIMELINE = "timeline.csv"
_COLUMNS = ["frame", "sequence", "time_ns", "world_T_cam"]


@dataclass(frozen=True)
class Instant:
    """When and where a frame was taken.

    Attributes:
        frame_id: Name of the frame.
        sequence: Name of the drive that it belongs to.
        time_ns: Of its picture; only differences mean something.
        world_T_cam: (4, 4) pose of the reference camera, None where it is not known.
    """

    frame_id: str
    sequence: str
    time_ns: int
    world_T_cam: np.ndarray | None = None


@dataclass(frozen=True)
class Predecessor:
    """The frame before another one of the same drive.

    Attributes:
        number: Its number in the reader.
        seconds: How much earlier it was taken.
        now_T_before: (4, 4) from its cam frame to the later frame's: the ego motion
            between them; None where it is not known.
    """

    number: int
    seconds: float
    now_T_before: np.ndarray | None


def predecessor(now: Instant, before: Instant, number: int) -> Predecessor:
    """What frame ``number`` of the reader, taken ``before``, is to the one ``now``."""
    motion = None
    if now.world_T_cam is not None and before.world_T_cam is not None:
        motion = inverse_transform(now.world_T_cam) @ before.world_T_cam
    return Predecessor(number, (now.time_ns - before.time_ns) * 1e-9, motion)


def predecessors(
    instants: Sequence[Instant], frame_ids: Sequence[str]
) -> dict[int, Predecessor]:
    """For frames of a reader, by number, the latest earlier one that it has.

    Frames that are the first of their sequence, or of which nothing is known, have
    none.
    """
    numbers = {frame_id: number for number, frame_id in enumerate(frame_ids)}
    last: dict[str, Instant] = {}
    found = {}
    for now in sorted(instants, key=lambda one: one.time_ns):
        if now.frame_id not in numbers:
            continue
        if (before := last.get(now.sequence)) is not None:
            number = numbers[before.frame_id]
            found[numbers[now.frame_id]] = predecessor(now, before, number)
        last[now.sequence] = now
    return found


def drives_of(frames: Sequence[Any]) -> list[list[int]]:
    """The drives of a reader: numbers of their frames in the order of time.

    A frame without predecessor, as all are of readers that know none, begins a drive.
    """
    previous = getattr(frames, "previous", lambda number: None)
    before = {number: previous(number) for number in range(len(frames))}
    after = {one.number: number for number, one in before.items() if one is not None}
    drives = []
    for first in (number for number, one in before.items() if one is None):
        drive = [first]
        while drive[-1] in after:
            drive.append(after[drive[-1]])
        drives.append(drive)
    return drives


def write_timeline(path: str | os.PathLike, instants: Sequence[Instant]) -> None:
    """Write a timeline that :func:`read_timeline` returns unchanged.

    Raises:
        DataError: If it cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for one in instants:
        pose = "" if one.world_T_cam is None else one.world_T_cam[:3].ravel().tolist()
        words = " ".join(map(repr, pose))
        table.writerow([one.frame_id, one.sequence, one.time_ns, words])
    write_bytes(path, text.getvalue().encode())


def read_timeline(path: str | os.PathLike) -> list[Instant]:
    """The instants of a file.

    Raises:
        DataError: If a line is not as the module's description has it, or a frame is
            there twice.
    """
    rows = list(csv.reader(io.StringIO(read_text(path, what="a timeline"))))
    if not rows or rows[0] != _COLUMNS:
        raise DataError(f"{path}: not a timeline: expected the line {_COLUMNS} first")
    instants = []
    for number, row in enumerate(rows[1:], start=2):
        where = f"{path}, line {number}"
        try:
            frame_id, sequence, time_ns, words = row
            pose = [float(word) for word in words.split()]
            made = Instant(path_part(frame_id, where), sequence, int(time_ns))
        except DataError:
            raise
        except ValueError as error:
            raise DataError(f"{where}: expected {_COLUMNS}: {error}") from error
        if pose and (len(pose) != 12 or not np.isfinite(pose).all()):
            raise DataError(f"{where}: a pose is 12 finite numbers, got {words!r}")
        if pose:
            full = np.vstack([np.reshape(pose, (3, 4)), [0.0, 0.0, 0.0, 1.0]])
            made = Instant(made.frame_id, sequence, made.time_ns, full)
        instants.append(made)
    names = [one.frame_id for one in instants]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: frame {twice} is there twice")
    return instants
