"""A bag as a folder in KITTI's layout, written as the messages go by.

    OUT/training/image_2, image_3    pictures; compressed ones as they are in the bag
    OUT/training/velodyne            x, y, z, reflectance 0 … 1
    OUT/training/radar               x, y, z and radar_fields, in the LiDAR's frame
    OUT/training/calib               the same for every frame
    OUT/training/timeline.csv        times, drives and ego motion, see ``timeline``
    OUT/ImageSets/drive.txt          every frame
    OUT/ImageSets/complete.txt       those with every sensor

The bag is read twice: for the times, from which ``plan`` says what makes a frame, then
for the data. Each message is written when it comes, and what is kept is the parts of
clouds that are merged: memory does not grow with the bag, but for its times.

With odometry, points are carried from where the vehicle was when they were measured to
where it was when the picture was taken.

Shape letters: P points; F fields.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from perception.core.files import claim, write_bytes
from perception.core.locks import sole_user
from perception.core.structures import DataError
from perception.datasets.bags.plan import NO_MESSAGE, Plan, plan_frames
from perception.datasets.bags.storage import NS, Bag, Raw
from perception.datasets.bags.survey import Survey
from perception.datasets.bags.topics import Topics
from perception.datasets.kitti import files as kitti_files
from perception.datasets.splits import listing, write_split
from perception.datasets.timeline import TIMELINE, Instant, write_timeline

_SENSOR_FOLDERS = {"lidar": "velodyne", "radar": "radar"}


@dataclass(frozen=True)
class Report:
    """What became of a bag.

    Attributes:
        frames: Frames written.
        complete: Those with every sensor.
        sequences: Drives.
        notes: What was left out, and why; one line each.
    """

    frames: int
    complete: int
    sequences: int
    notes: tuple[str, ...]


def convert_bag(
    bag: str | os.PathLike,
    topics: Topics,
    out: str | os.PathLike,
    *,
    progress: bool = True,
) -> Report:
    """Write the frames of a bag to the folder ``out``.

    Raises:
        DataError: If the bag is damaged, lacks a topic, a transform or a calibration,
            or has no frame; or the folder holds something else.
    """
    root = Path(out)
    # As JSON has it: lists, no tuples.
    made_of = json.loads(json.dumps({"bag": str(bag), "topics": asdict(topics)}))
    with sole_user(root, "reading a bag"), Bag(bag) as opened:
        conversion = _Conversion(Survey(opened, topics))
        claim(root / "bag.json", made_of, taken="training")
        return conversion.write(root, progress)


class _Conversion:
    """One bag on its way to a folder."""

    def __init__(self, survey: Survey) -> None:
        self.survey, self.bag, self.topics = survey, survey.bag, survey.topics
        self.clouds = survey.clouds

    def plan(self) -> Plan:
        """What makes a frame."""
        stamps = dict(self.survey.stamps)
        camera = stamps.pop(self.topics.camera)
        return plan_frames(camera, stamps, self.topics.tolerance_s)

    def write(self, root: Path, progress: bool) -> Report:
        """Write everything below ``root``."""
        plan, calibration = self.plan(), self.survey.calibration()
        names = [f"{number:06d}" for number in range(len(plan))]
        self._check_some(plan)
        poses = [self.survey.camera_pose(time_ns) for time_ns in plan.time_ns.tolist()]
        base = root / "training"
        self._write_data(base, plan, names, progress)
        for name in names:
            kitti_files.write_calib(base / "calib" / f"{name}.txt", calibration)
        instants = [
            Instant(name, f"{sequence:04d}", time_ns, pose)
            for name, sequence, time_ns, pose in zip(
                names,
                plan.sequence.tolist(),
                plan.time_ns.tolist(),
                poses,
                strict=True,
            )
        ]
        write_timeline(base / TIMELINE, instants)
        whole = np.ones(len(plan), bool)
        for numbers in plan.others.values():
            whole &= numbers != NO_MESSAGE
        complete = [name for name, good in zip(names, whole, strict=True) if good]
        write_split(root / "ImageSets" / "drive.txt", names)
        write_split(root / "ImageSets" / "complete.txt", complete)
        drives = len(np.unique(plan.sequence))
        return Report(len(names), len(complete), drives, self._notes(plan, names))

    def _check_some(self, plan: Plan) -> None:
        """Raise DataError if a sensor is in no frame at all."""
        camera = self.survey.stamps[self.topics.camera].time_ns
        for name, numbers in plan.others.items():
            if (numbers == NO_MESSAGE).all():
                off = (self.survey.stamps[name].time_ns[0] - camera[0]) / NS
                raise DataError(
                    f"{self.bag.path}: no message of {name!r} is within "
                    f"{self.topics.tolerance_s} s of a picture of "
                    f"{self.topics.camera!r} (the first is {off:+.3f} s away); raise "
                    'tolerance_s, or take "clock": "recorded" if their clocks differ'
                )

    def _notes(self, plan: Plan, names: Sequence[str]) -> tuple[str, ...]:
        """What was left out."""
        notes = []
        for topic, numbers in plan.others.items():
            lacks = [n for n, m in zip(names, numbers, strict=True) if m == NO_MESSAGE]
            used = numbers[numbers != NO_MESSAGE]
            if lacks:
                notes.append(
                    f"{topic}: no message within {self.topics.tolerance_s} s in "
                    f"{len(lacks)} of {len(names)} frames: {listing(lacks)}"
                )
            if again := len(used) - len(np.unique(used)):
                notes.append(f"{topic}: {again} frames share a message with another")
        if plan.repeated:
            notes.append(f"{self.topics.camera}: {plan.repeated} pictures came twice")
        if self.topics.odometry:
            lost = sum(
                self.survey.camera_pose(t) is None for t in plan.time_ns.tolist()
            )
            if lost:
                notes.append(f"{self.topics.odometry}: no pose for {lost} frames")
        return tuple(notes)

    def _write_data(
        self, base: Path, plan: Plan, names: Sequence[str], progress: bool
    ) -> None:
        """Read the bag again and write what each message holds into its frames."""
        uses = _uses(plan, self.topics.camera)
        parts: dict[tuple[str, int], dict[str, np.ndarray]] = defaultdict(dict)
        expected = {
            sensor: sum(plan.others[name] != NO_MESSAGE for name in topics)
            for sensor, topics in self.clouds.items()
        }
        sensor_of = {n: s for s, topics in self.clouds.items() for n in topics}
        folders = {self.topics.camera: "image_2", self.topics.right: "image_3"}
        bar = tqdm(
            desc="reading", total=len(names), unit="frame", disable=not progress or None
        )
        with bar:
            for raw in self.bag.messages(uses):
                for frame in uses[raw.topic].pop(raw.number, ()):
                    if raw.topic in folders:
                        place = base / folders[raw.topic] / names[frame]
                        self._write_picture(place, raw)
                        bar.update(raw.topic == self.topics.camera)
                        continue
                    sensor, time_ns = sensor_of[raw.topic], int(plan.time_ns[frame])
                    mine = parts[sensor, frame]
                    mine[raw.topic] = self._cloud(raw, time_ns)
                    if len(mine) == expected[sensor][frame]:
                        order = [n for n in self.clouds[sensor] if n in mine]
                        points = np.concatenate([mine[name] for name in order])
                        folder = base / _SENSOR_FOLDERS[sensor]
                        kitti_files.write_points(folder / f"{names[frame]}.bin", points)
                        del parts[sensor, frame]

    def _write_picture(self, place: Path, raw: Raw) -> None:
        """Write a picture; rectified ones that are compressed stay as they are."""
        where = f"{self.bag.path}: {raw.topic}, message {raw.number}"
        message = self.bag.decode(raw)
        image = self.survey.picture(raw.topic, message, where)
        if hasattr(message, "encoding") or self.survey.must_rectify(raw.topic):
            return kitti_files.write_image(place.with_suffix(".png"), image)
        data = message.data.tobytes()
        suffix = ".png" if data.startswith(b"\x89PNG") else ".jpg"
        write_bytes(place.with_suffix(suffix), data)

    def _cloud(self, raw: Raw, time_ns: int) -> np.ndarray:
        """(P, 3 + F) float32 points of one message in the frame of all points."""
        where = f"{self.bag.path}: {raw.topic}, message {raw.number}"
        moved = self.survey.to_points(raw.topic, self.survey.time_ns(raw), time_ns)
        return self.survey.cloud(raw.topic, self.bag.decode(raw), moved, where)


def _uses(plan: Plan, camera: str) -> dict[str, dict[int, list[int]]]:
    """For each topic the frames that show a message, by its number."""
    uses: dict[str, dict[int, list[int]]] = {}
    for topic, numbers in {camera: plan.camera, **plan.others}.items():
        mine: dict[int, list[int]] = {}
        for frame, number in enumerate(numbers.tolist()):
            if number != NO_MESSAGE:
                mine.setdefault(number, []).append(frame)
        uses[topic] = mine
    return uses
