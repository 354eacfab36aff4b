"""nuScenes' sensors: where they sit on the car, where they look, when they fire.

The ego frame is x forward, y left, z up, with its origin on the road below the middle
of the rear axle. Mounting after Caesar et al., "nuScenes: a multimodal dataset for
autonomous driving" (CVPR 2020) and its calibrated_sensor table, rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.datasets.synthetic.sensing.lidar import Beams

# Camera axes (x right, y down, z forward) in a frame with x forward and z up.
_CAMERA_AXES = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], float)
HDL32 = Beams(tuple(np.linspace(10.67, -30.67, 32).tolist()), 0.3318)


@dataclass(frozen=True)
class Sensor:
    """One sensor of the rig.

    Attributes:
        channel: Its nuScenes name.
        modality: ``camera``, ``lidar`` or ``radar``.
        translation_m: (x, y, z) in the ego frame.
        yaw_deg: Where its x axis (a camera's optical axis) points, positive left.
        delay_us: When it fires after the LiDAR's key frame.
        focal_share: A camera's focal length as a share of the image's width.
    """

    channel: str
    modality: str
    translation_m: tuple[float, float, float]
    yaw_deg: float
    delay_us: int = 0
    focal_share: float = 0.0

    @property
    def mounting(self) -> np.ndarray:
        """(4, 4) ego_T_sensor: transform of its frame to the ego frame."""
        pose = planar_pose(0.0, 0.0, np.radians(self.yaw_deg))
        if self.modality == "camera":
            pose[:3, :3] = pose[:3, :3] @ _CAMERA_AXES
        pose[:3, 3] = self.translation_m
        return pose

    @property
    def rotation(self) -> tuple[float, float, float, float]:
        """The rotation of ``mounting`` as a unit quaternion w, x, y, z."""
        turn = yaw_quaternion(float(np.radians(self.yaw_deg)))
        if self.modality != "camera":
            return turn
        # The camera's axes are half of (1, -1, 1, -1), applied first.
        w, z = turn[0] / 2, turn[3] / 2
        return (w + z, -w - z, w - z, -w + z)

    def intrinsic(self, width: int, height: int) -> np.ndarray:
        """(3, 3) camera matrix for images of that size in pixels."""
        focal = self.focal_share * width
        return np.array(
            [[focal, 0, 0.51 * width], [0, focal, 0.546 * height], [0, 0, 1.0]]
        )


def planar_pose(x_m: float, y_m: float, yaw: float) -> np.ndarray:
    """(4, 4) pose on the ground: turned by ``yaw`` around z, then shifted."""
    c, s = np.cos(yaw), np.sin(yaw)
    pose = np.eye(4)
    pose[:2, :2] = [[c, -s], [s, c]]
    pose[:2, 3] = x_m, y_m
    return pose


def yaw_quaternion(yaw: float) -> tuple[float, float, float, float]:
    """Unit quaternion w, x, y, z of a turn around z."""
    return float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))


def _camera(name, x, y, z, yaw, delay_us, focal=0.79) -> Sensor:
    return Sensor(f"CAM_{name}", "camera", (x, y, z), yaw, delay_us, focal)


def _radar(name, x, y, z, yaw, delay_us) -> Sensor:
    return Sensor(f"RADAR_{name}", "radar", (x, y, z), yaw, delay_us)


# Each camera fires when the LiDAR, turning clockwise, sweeps through its view; the
# LiDAR's own time is that of the end of its turn.
CAMERAS = (
    _camera("FRONT", 1.70, 0.016, 1.51, 0.0, -35_000),
    _camera("FRONT_RIGHT", 1.55, -0.493, 1.50, -56.0, -27_000),
    _camera("BACK_RIGHT", 1.01, -0.482, 1.56, -110.5, -19_000),
    _camera("BACK", 0.03, 0.003, 1.57, 180.0, -10_000, focal=0.506),
    _camera("BACK_LEFT", 1.04, 0.485, 1.57, 108.5, -2_000),
    _camera("FRONT_LEFT", 1.52, 0.495, 1.51, 55.5, -43_000),
)
RADARS = (
    _radar("FRONT", 3.41, 0.0, 0.50, 0.0, 7_000),
    _radar("FRONT_LEFT", 2.42, 0.80, 0.78, 90.0, -13_000),
    _radar("FRONT_RIGHT", 2.42, -0.80, 0.77, -90.0, -5_000),
    _radar("BACK_LEFT", -0.56, 0.62, 0.53, 175.0, 11_000),
    _radar("BACK_RIGHT", -0.56, -0.61, 0.53, -176.0, 2_000),
)
# The LiDAR's x axis points to the right of the car.
LIDAR = Sensor("LIDAR_TOP", "lidar", (0.94, 0.0, 1.84), -90.0)
SENSORS = (*CAMERAS, LIDAR, *RADARS)
