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
from perception.core.structures import Calibration, DataError
from perception.datasets.bags.messages import (
    Camera,
    FrameTree,
    frame_name,
    rigid,
    rigid_of,
)
from perception.datasets.bags.plan import Stamps
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
# Vehicle axes (x forward, y left, z up) to a camera's, for bags without any points.
_AXES = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


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


class Survey:
    """What a first reading of a bag finds.

    Attributes:
        stamps: For each topic of pictures and points the times of its messages.
        cameras: ``camera`` and, of a pair, ``right``.
        rect_T_sensor: For each topic of points (4, 4) from its frame to the picture's.
        cam_T_points: (4, 4) to the picture's frame from that of all points, which is
            the first topic's.

    Raises:
        DataError: If the bag lacks a topic, a transform or a calibration.
    """

    def __init__(self, bag: Bag, topics: Topics) -> None:
        self.bag, self.topics = bag, topics
        self.clouds = topics.clouds()
        pictures = {"camera": topics.camera, "right": topics.right}
        self.pictures = {what: name for what, name in pictures.items() if name}
        for what, name in self.pictures.items():
            bag.require(name, what, (IMAGE, COMPRESSED_IMAGE))
        for what, names in self.clouds.items():
            for name in names:
                bag.require(name, what, (POINTS,))
        infos = {"camera_info": topics.camera_info, "right_info": topics.right_info}
        for what, info in infos.items():
            if info:
                bag.require(info, what, (CAMERA_INFO,))
        if topics.odometry:
            bag.require(topics.odometry, "odometry", (ODOMETRY,))
        self.frames_of: dict[str, str] = {}
        self.base = ""
        self._read_once([name for name in infos.values() if name])
        self._place()

    def _read_once(self, infos: Sequence[str]) -> None:
        """All times, the first of what does not change, every pose."""
        topics, bag = self.topics, self.bag
        timed = [*self.pictures.values(), *chain(*self.clouds.values())]
        times: dict[str, list[tuple[int, int]]] = {name: [] for name in timed}
        poses: list[tuple[int, np.ndarray]] = []
        cameras: dict[str, Camera] = {}
        self.tree = FrameTree()
        more = [topics.tf_static] if topics.tf_static in bag.topics else []
        more += [topics.odometry] if topics.odometry else []
        if more and more[0] == topics.tf_static:
            bag.require(topics.tf_static, "tf_static", (TRANSFORMS, "tf/msg/tfMessage"))
        for raw in bag.messages({*timed, *infos, *more}):
            where = f"{bag.path}: {raw.topic}, message {raw.number}"
            if raw.topic in times:
                times[raw.topic].append((self.time_ns(raw), raw.recorded_ns))
                if raw.topic not in self.frames_of:
                    header = bag.decode(raw).header
                    self.frames_of[raw.topic] = frame_name(header.frame_id)
            elif raw.topic in infos:
                if raw.topic not in cameras:
                    cameras[raw.topic] = Camera.of(bag.decode(raw), where)
            elif raw.topic == topics.odometry:
                message = bag.decode(raw)
                self.base = frame_name(message.child_frame_id)
                poses.append((self.time_ns(raw), rigid_of(message.pose.pose, where)))
            else:
                for one in bag.decode(raw).transforms:
                    parent = frame_name(one.header.frame_id)
                    moved = rigid_of(one.transform, where)
                    self.tree.add(parent, frame_name(one.child_frame_id), moved)
        for given in topics.transforms:
            moved = rigid(given.translation_m, given.rotation_xyzw)
            self.tree.add(given.parent, given.child, moved)
        with bag_errors(bag.path):  # times beyond 64 bits
            self.stamps = {
                name: Stamps(*np.array(pairs, np.int64).reshape(-1, 2).T.copy())
                for name, pairs in times.items()
            }
            self.way = _way(poses)
        for name, stamps in self.stamps.items():
            if not len(stamps.time_ns):
                raise DataError(f"{bag.path}: topic {name!r} has no messages")
        self.cameras = {
            what: cameras[info]
            for what, info in (
                ("camera", topics.camera_info),
                ("right", topics.right_info),
            )
            if info
        }

    def time_ns(self, raw: Raw) -> int:
        """When a message was measured; if its header does not say, when recorded."""
        if self.topics.clock == "recorded":
            return raw.recorded_ns
        return self.bag.stamp_ns(raw) or raw.recorded_ns

    def _place(self) -> None:
        """Where the sensors are: to the picture's frame, and from it to the vehicle."""
        camera, tree = self.cameras["camera"], self.tree
        self.rect_T_sensor = {
            name: camera.rect_T_optical
            @ tree.transform(camera.frame, self.frames_of[name])
            for name in chain(*self.clouds.values())
        }
        # All points are carried to the frame of the first cloud.
        self.cam_T_points = next(iter(self.rect_T_sensor.values()), _AXES)
        if self.topics.odometry:
            base_T_optical = tree.transform(self.base, camera.frame)
            optical_T_cam = inverse_transform(camera.rect_T_optical)
            self.base_T_cam = base_T_optical @ optical_T_cam

    def calibration(self) -> Calibration:
        """Of the frames, with the pair's right camera if there is one.

        Raises:
            DataError: If the pair is none.
        """
        left, right = self.cameras["camera"], self.cameras.get("right")
        right_P_cam = None
        if right is not None:
            right_P_cam = right.image_P_cam
            if right_P_cam[0, 3] == left.image_P_cam[0, 3]:  # not calibrated together
                right_T_left = (
                    right.rect_T_optical
                    @ self.tree.transform(right.frame, left.frame)
                    @ inverse_transform(left.rect_T_optical)
                )
                right_P_cam = right_P_cam @ right_T_left
            one, other = left.image_P_cam, right_P_cam
            scale = max(abs(left.image_P_cam[0, 0]), 1e-6)
            apart = np.abs(one[:, :3] - other[:, :3]).max() / scale
            if left.size != right.size or apart > 0.01 or one[0, 3] == other[0, 3]:
                raise DataError(
                    f"{self.bag.path}: {self.topics.camera} and {self.topics.right} "
                    "are no rectified pair: their projections P must be the same but "
                    "for the distance between them"
                )
        return Calibration(left.image_P_cam, {"lidar": self.cam_T_points}, right_P_cam)

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
