"""Synthetic drives as ROS bags: a street that is driven through, at the camera's rate.

    root/drive-0000/              a ROS 2 bag, or drive-0000.bag of ROS 1
    root/topics.json              for ``create_data.py bag --topics``
    root/synthetic.json           what determines the drives

The rig is KITTI's stereo camera and 64-beam LiDAR (``sensing.sensors``), the street and
its traffic are those of the nuScenes layout. All sensors measure at the same time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from perception.core.files import claim, write_json
from perception.core.shards import Shard, at_work
from perception.core.structures import DataError
from perception.datasets.bags.compose import (
    camera_info,
    cloud,
    compressed_image,
    odometry,
    static_transforms,
)
from perception.datasets.bags.storage import NS, BagWriter, Storage
from perception.datasets.synthetic.generate import (
    RECIPE,
    check_at_least,
    make_missing,
    parse_size,
    take_parts,
)
from perception.datasets.synthetic.kitti import SyntheticFrame, observe
from perception.datasets.synthetic.nuscenes.traffic import (
    VIEW_AHEAD_M,
    VIEW_HEIGHT_M,
    random_sequence,
)
from perception.datasets.synthetic.nuscenes.traffic import Sequence as Street

GENERATOR_VERSION = 1
EPOCH_NS = 1_532_402_927 * NS
_DRIVE_PERIOD_NS = 3_600 * NS
# Where the camera is mounted on the vehicle (x forward, y left, z up).
BASE_T_CAM = np.array(
    [[0, 0, 1, VIEW_AHEAD_M], [-1, 0, 0, 0], [0, -1, 0, VIEW_HEIGHT_M], [0, 0, 0, 1.0]]
)
TOPICS: dict[str, Any] = {
    "camera": "/camera/left/image_rect/compressed",
    "camera_info": "/camera/left/camera_info",
    "right": "/camera/right/image_rect/compressed",
    "right_info": "/camera/right/camera_info",
    "lidar": ["/lidar/points"],
    "odometry": "/odometry",
    "tolerance_s": 0.02,
}


@dataclass(frozen=True)
class Recipe:
    """What determines every drive's content.

    Attributes:
        seed: Seed of the set; drive k draws from (seed, k) alone.
        width: Image width in pixels.
        height: Image height in pixels.
        seconds: Length of a drive.
        rate_hz: Frames per second.
        storage: ``mcap`` or ``sqlite3`` of ROS 2, or ``ros1``.
        version: Version of the generator.
    """

    seed: int
    width: int
    height: int
    seconds: int
    rate_hz: int
    storage: Storage
    version: int = GENERATOR_VERSION


@dataclass(frozen=True)
class Moment:
    """One frame of a drive.

    Attributes:
        time_ns: When it was measured.
        world_T_base: (4, 4) pose of the vehicle.
        frame: What the sensors deliver.
    """

    time_ns: int
    world_T_base: np.ndarray
    frame: SyntheticFrame


def generate_bags(
    out: str | os.PathLike,
    *,
    drives: int,
    seconds: int = 10,
    rate: int = 10,
    storage: Storage = "mcap",
    seed: int = 0,
    size: str = "640x192",
    jobs: int = 1,
    progress: bool = True,
    shard: Shard | None = None,
    merge: Sequence[str] = (),
) -> Path:
    """Make drives as bags; those that are there are kept.

    Args:
        out: Folder to fill; it is returned.
        drives: Number of drives.
        seconds: Length of a drive.
        rate: Frames per second.
        storage: ``mcap`` or ``sqlite3`` of ROS 2, or ``ros1``.
        seed: The same seed gives the same messages, whatever ``jobs``.
        size: Image size as ``WIDTHxHEIGHT`` in pixels.
        jobs: Number of worker processes, each using one core.
        progress: Whether to show a progress bar.
        shard: Make only every n-th drive.
        merge: Folders of other machines' shards: their drives are taken first.

    Raises:
        DataError: If an argument is out of range, a folder holds another data set,
            or a file cannot be written.
    """
    check_at_least(1, drives=drives, seconds=seconds, rate=rate, jobs=jobs)
    check_at_least(0, seed=seed)
    if storage not in ("mcap", "sqlite3", "ros1"):
        raise DataError(f"storage must be mcap, sqlite3 or ros1, got {storage!r}")
    root, recipe = Path(out), Recipe(seed, *parse_size(size), seconds, rate, storage)
    names = [f"drive-{number:04d}" for number in range(drives)]
    with at_work(root, "making data", shard):
        claim(root / RECIPE, asdict(recipe), taken="topics.json")
        write_json(root / "topics.json", TOPICS)
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
    return root


def bag_path(root: Path, recipe: Recipe, name: str) -> Path:
    """Where a drive lies."""
    return root / (f"{name}.bag" if recipe.storage == "ros1" else name)


def _complete(root: Path, recipe: Recipe, name: str) -> bool:
    return bag_path(root, recipe, name).exists()


def _files_to_take(
    recipe: Recipe, other: Path, root: Path, names: Sequence[str]
) -> Iterator[Path]:
    """Of the drives that are whole in another folder and not in this one."""
    for name in names:
        if _complete(other, recipe, name) and not _complete(root, recipe, name):
            whole = bag_path(other, recipe, name)
            files = sorted(whole.iterdir()) if whole.is_dir() else [whole]
            yield from (path.relative_to(other) for path in files)


def street_of(recipe: Recipe, number: int) -> Street:
    """The street that drive ``number`` goes through."""
    rng = np.random.default_rng((recipe.seed, number))
    return random_sequence(rng, recipe.seconds)


def moment(recipe: Recipe, street: Street, number: int, index: int) -> Moment:
    """Frame ``index`` of drive ``number``."""
    cv2.setNumThreads(1)
    offset_ns = index * NS // recipe.rate_hz
    time_s = offset_ns / NS
    rng = np.random.default_rng((recipe.seed, number, index))
    frame = observe(rng, street.at(time_s)[0], recipe.width, recipe.height)
    time_ns = EPOCH_NS + number * _DRIVE_PERIOD_NS + offset_ns
    return Moment(time_ns, street.ego.pose(time_s), frame)


def moments(recipe: Recipe, number: int) -> Iterator[Moment]:
    """The frames of drive ``number``."""
    street = street_of(recipe, number)
    for index in range(recipe.seconds * recipe.rate_hz):
        yield moment(recipe, street, number, index)


def write_drive(root: Path, recipe: Recipe, name: str) -> None:
    """Make the drive ``name`` and write its bag.

    Raises:
        DataError: If it cannot be written.
    """
    number = int(name.rsplit("-", 1)[-1])
    with BagWriter(bag_path(root, recipe, name), recipe.storage) as bag:
        for index, moment in enumerate(moments(recipe, number)):
            if index == 0:
                cam_T_lidar = moment.frame.calibration.cam_T_sensor["lidar"]
                placed = [("base_link", "camera", BASE_T_CAM)]
                placed += [("camera", "lidar", cam_T_lidar)]
                static = static_transforms(bag, moment.time_ns, placed)
                bag.write("/tf_static", static, moment.time_ns)
            write_moment(bag, moment)


def write_moment(bag: BagWriter, moment: Moment) -> None:
    """Write the messages of one frame."""
    frame, now = moment.frame, moment.time_ns
    pose = odometry(bag, now, "odom", "base_link", moment.world_T_base)
    bag.write(TOPICS["odometry"], pose, now)
    right_P_cam = frame.calibration.right_P_cam
    assert right_P_cam is not None
    for side, rgb, projection in (
        ("camera", frame.left_rgb, frame.calibration.image_P_cam),
        ("right", frame.right_rgb, right_P_cam),
    ):
        height, width = rgb.shape[:2]
        info = camera_info(bag, now, "camera", (height, width), projection)
        bag.write(TOPICS[f"{side}_info"], info, now)
        bag.write(TOPICS[side], compressed_image(bag, now, "camera", rgb), now)
    fields = ("x", "y", "z", "intensity")
    points = cloud(bag, now, "lidar", frame.points, fields)
    bag.write(TOPICS["lidar"][0], points, now)
