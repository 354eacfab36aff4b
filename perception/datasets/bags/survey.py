"""The first reading of a bag: its times, where its sensors are, where it drove.

Shape letters: N poses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import cv2
import numpy as np

from perception.core.geometry import inverse_transform
from perception.core.structures import DataError
from perception.datasets.bags.messages import frame_name, rigid_of
from perception.datasets.bags.plan import Stamps
from perception.datasets.bags.rig import Rig
from perception.datasets.bags.storage import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    NS,
    ODOMETRY,
    POINTS,
    TRANSFORMS,
    Bag,
    Raw,
    bag_errors,
)
from perception.datasets.bags.topics import Topics

# Poses further apart are not interpolated.
_POSE_GAP_S = 0.5


@dataclass(frozen=True)
class Way:
    """Poses of the vehicle over time.

    Attributes:
        time_ns: (N,) int64, growing.
        poses: (N, 4, 4) world_T_base.
    """

    time_ns: np.ndarray
    poses: np.ndarray

    def at(self, time_ns: int) -> np.ndarray | None:
        """(4, 4) world_T_base at a time between two poses; None where there is none."""
        after = int(np.searchsorted(self.time_ns, time_ns))
        if after < len(self.time_ns) and self.time_ns[after] == time_ns:
            return self.poses[after]
        if not 0 < after < len(self.time_ns):
            return None
        before_ns, gap_ns = self.time_ns[after - 1], np.diff(self.time_ns)[after - 1]
        if gap_ns > _POSE_GAP_S * NS:
            return None
        share = float(time_ns - before_ns) / float(gap_ns)
        start, end = self.poses[after - 1], self.poses[after]
        turn = cv2.Rodrigues(start[:3, :3].T @ end[:3, :3])[0] * share
        pose = np.eye(4)
        pose[:3, :3] = start[:3, :3] @ cv2.Rodrigues(turn)[0]
        pose[:3, 3] = (1 - share) * start[:3, 3] + share * end[:3, 3]
        return pose


class Survey(Rig):
    """A rig, and what else a first reading of a bag finds.

    Attributes:
        stamps: For each topic of pictures and points the times of its messages.
        way: Where the vehicle was, None where that is not known.

    Raises:
        DataError: If the bag lacks a topic, a transform or a calibration.
    """

    def __init__(self, bag: Bag, topics: Topics) -> None:
        super().__init__(topics)
        self.bag = bag
        for what, name in self.pictures.items():
            bag.require(name, what, (IMAGE, COMPRESSED_IMAGE))
            bag.require(self.infos[what], f"{what}'s info", (CAMERA_INFO,))
        for what, names in self.clouds.items():
            for name in names:
                bag.require(name, what, (POINTS,))
        if topics.odometry:
            bag.require(topics.odometry, "odometry", (ODOMETRY,))
        if topics.tf_static in bag.topics:
            bag.require(topics.tf_static, "tf_static", (TRANSFORMS, "tf/msg/tfMessage"))
        self._read_once()
        self.place()
        if topics.odometry:
            camera = self.cameras["camera"]
            base_T_optical = self.tree.transform(self.base, camera.frame)
            optical_T_cam = inverse_transform(camera.rect_T_optical)
            self.base_T_cam = base_T_optical @ optical_T_cam

    def _read_once(self) -> None:
        """All times, the first of what does not change, every pose."""
        topics, bag = self.topics, self.bag
        timed = [*self.pictures.values(), *chain(*self.clouds.values())]
        times: dict[str, list[tuple[int, int]]] = {name: [] for name in timed}
        poses: list[tuple[int, np.ndarray]] = []
        self.base, seen = "", set()
        others = {*self.infos.values(), topics.tf_static, topics.odometry or ""}
        for raw in bag.messages({*timed, *(others & set(bag.topics))}):
            where = f"{bag.path}: {raw.topic}, message {raw.number}"
            if raw.topic in times:
                times[raw.topic].append((self.time_ns(raw), raw.recorded_ns))
                if raw.topic not in self.frames_of:
                    header = bag.decode(raw).header
                    self.frames_of[raw.topic] = frame_name(header.frame_id)
            elif raw.topic == topics.odometry:
                message = bag.decode(raw)
                self.base = frame_name(message.child_frame_id)
                poses.append((self.time_ns(raw), rigid_of(message.pose.pose, where)))
            elif raw.topic == topics.tf_static or raw.topic not in seen:
                seen.add(raw.topic)
                self.learn(raw.topic, bag.decode(raw), where)
        with bag_errors(bag.path):  # times beyond 64 bits
            self.stamps = {
                name: Stamps(*np.array(pairs, np.int64).reshape(-1, 2).T.copy())
                for name, pairs in times.items()
            }
            self.way = _way(poses)
        for name, stamps in self.stamps.items():
            if not len(stamps.time_ns):
                raise DataError(f"{bag.path}: topic {name!r} has no messages")

    def time_ns(self, raw: Raw) -> int:
        """When a message was measured; if its header does not say, when recorded."""
        if self.topics.clock == "recorded":
            return raw.recorded_ns
        return self.bag.stamp_ns(raw) or raw.recorded_ns

    def camera_pose(self, time_ns: int) -> np.ndarray | None:
        """(4, 4) pose of the camera at a time, None where it is not known."""
        pose = self.way.at(time_ns) if self.way else None
        return None if pose is None else pose @ self.base_T_cam

    def to_points(self, topic: str, taken_ns: int, now_ns: int) -> np.ndarray | None:
        """(4, 4) from a topic's frame then to that of all points now; None: the same.

        Carried along with the vehicle where it is known how it moved.
        """
        cam_T_sensor = self.rect_T_sensor[topic]
        if self.way and taken_ns != now_ns:
            then, now = self.camera_pose(taken_ns), self.camera_pose(now_ns)
            if then is not None and now is not None:
                cam_T_sensor = inverse_transform(now) @ then @ cam_T_sensor
        if np.array_equal(cam_T_sensor, self.cam_T_points):
            return None
        return inverse_transform(self.cam_T_points) @ cam_T_sensor


def _way(poses: Sequence[tuple[int, np.ndarray]]) -> Way | None:
    """The vehicle's way; of several poses at a time the first counts."""
    if not poses:
        return None
    times, first = np.unique(np.array([t for t, _ in poses], np.int64), True)
    return Way(times, np.stack([poses[number][1] for number in first]))
