"""Bags of tiny frames, with every liberty that a recording may take."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tiny_kitti import CALIBRATION, SIZE, make_frame

from perception.datasets.bags import compose
from perception.datasets.bags.storage import NS, BagWriter
from perception.datasets.bags.topics import Topics

START_NS = 1_700_000_000 * NS
STEP_NS = NS // 10
TOPICS = Topics(
    camera="/left/image_rect",
    camera_info="/left/camera_info",
    right="/right/image_rect",
    right_info="/right/camera_info",
    lidar=("/lidar",),
    odometry="/odometry",
)


@dataclass
class Drive:
    """What is recorded, message by message; a test changes it before it is written.

    Attributes:
        messages: (topic, made by, time_ns, recorded_ns) in the order of recording;
            ``made by`` takes the writer and the time.
    """

    messages: list = field(default_factory=list)

    def add(self, topic, make, time_ns, recorded_ns=None):
        self.messages.append((topic, make, time_ns, recorded_ns or time_ns))

    def of(self, topic):
        return [number for number, one in enumerate(self.messages) if one[0] == topic]

    def write(self, path: Path, storage="mcap") -> Path:
        with BagWriter(path, storage) as bag:
            for topic, make, time_ns, recorded_ns in self.messages:
                bag.write(topic, make(bag, time_ns), recorded_ns)
        return path


def pose_at(index: int) -> np.ndarray:
    """(4, 4) of the vehicle: a metre ahead and a degree to the left per frame."""
    turn = np.radians(index)
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    pose[0, 3] = float(index)
    return pose


def tiny_drive(frames: int = 4, *, compressed: bool = False, start_ns=START_NS):
    """Frames of ``make_frame`` and, as right images, those of the next."""
    drive = Drive()
    cam_T_lidar = CALIBRATION.cam_T_sensor["lidar"]
    base_T_cam = np.linalg.inv(cam_T_lidar)
    placed = [("base", "cam", base_T_cam), ("/cam", "/velo", cam_T_lidar)]
    drive.add(
        "/tf_static", lambda b, t: compose.static_transforms(b, t, placed), start_ns
    )
    show = compose.compressed_image if compressed else compose.image
    for index in range(frames):
        now = start_ns + index * STEP_NS
        frame, other = make_frame(index), make_frame(index + 1)
        for side, rgb, projection in (
            ("/left", frame.sensors["camera"], CALIBRATION.image_P_cam),
            ("/right", other.sensors["camera"], CALIBRATION.right_P_cam),
        ):
            drive.add(
                f"{side}/camera_info",
                lambda b, t, p=projection: compose.camera_info(b, t, "cam", SIZE, p),
                now,
            )
            drive.add(
                f"{side}/image_rect", lambda b, t, x=rgb: show(b, t, "cam", x), now
            )
        points = frame.sensors["lidar"]
        drive.add(
            "/lidar",
            lambda b, t, p=points: compose.cloud(
                b, t, "velo", p, ("x", "y", "z", "intensity")
            ),
            now,
        )
        pose = pose_at(index)
        drive.add(
            "/odometry",
            lambda b, t, p=pose: compose.odometry(b, t, "odom", "base", p),
            now,
        )
    return drive
