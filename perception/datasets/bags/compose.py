"""Messages for a bag that is written: the way back of ``messages``.

Shape letters: H, W image height and width in pixels; P points; F fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from perception.datasets.bags.storage import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    ODOMETRY,
    POINTS,
    TRANSFORMS,
    BagWriter,
)

_FLOAT32 = 7  # PointField's datatype


def image(bag: BagWriter, time_ns: int, frame: str, rgb: np.ndarray) -> Any:
    """An ``Image`` of (H, W, 3) uint8 RGB."""
    height, width = rgb.shape[:2]
    return bag.message(
        IMAGE,
        header=bag.header(time_ns, frame),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=np.ascontiguousarray(rgb).reshape(-1),
    )


def compressed_image(bag: BagWriter, time_ns: int, frame: str, rgb: np.ndarray) -> Any:
    """A ``CompressedImage``, a PNG, of (H, W, 3) uint8 RGB."""
    data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1]
    header = bag.header(time_ns, frame)
    more = {"format": "rgb8; png compressed bgr8", "data": data.reshape(-1)}
    return bag.message(COMPRESSED_IMAGE, header=header, **more)


def camera_info(
    bag: BagWriter,
    time_ns: int,
    frame: str,
    size: tuple[int, int],
    image_P_cam: np.ndarray,
) -> Any:
    """A ``CameraInfo`` of a rectified camera with the (3, 4) projection."""
    nothing = {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0}
    region = "sensor_msgs/msg/RegionOfInterest"
    return bag.message(
        CAMERA_INFO,
        header=bag.header(time_ns, frame),
        height=size[0],
        width=size[1],
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=np.ascontiguousarray(image_P_cam[:, :3], np.float64).reshape(-1),
        r=np.eye(3).reshape(-1),
        p=np.ascontiguousarray(image_P_cam, np.float64).reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=bag.message(region, do_rectify=False, **nothing),
    )


def cloud(
    bag: BagWriter, time_ns: int, frame: str, points: np.ndarray, fields: Sequence[str]
) -> Any:
    """A ``PointCloud2`` of (P, F) numbers, as float32 in this order."""
    table = np.ascontiguousarray(points, "<f4")
    described = [
        bag.message(
            "sensor_msgs/msg/PointField",
            name=name,
            offset=4 * number,
            datatype=_FLOAT32,
            count=1,
        )
        for number, name in enumerate(fields)
    ]
    return bag.message(
        POINTS,
        header=bag.header(time_ns, frame),
        height=1,
        width=len(table),
        fields=described,
        is_bigendian=False,
        point_step=4 * len(fields),
        row_step=table.nbytes,
        data=table.reshape(-1).view(np.uint8),
        is_dense=True,
    )


def odometry(
    bag: BagWriter, time_ns: int, world: str, base: str, world_T_base: np.ndarray
) -> Any:
    """An ``Odometry`` with a (4, 4) pose; velocities are left at zero."""
    nothing = bag.message("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
    place, turn = _parts(bag, world_T_base, "geometry_msgs/msg/Point")
    pose = bag.message("geometry_msgs/msg/Pose", position=place, orientation=turn)
    twist = bag.message("geometry_msgs/msg/Twist", linear=nothing, angular=nothing)
    unknown = np.zeros(36)
    with_pose, with_twist = (
        bag.message(
            f"geometry_msgs/msg/{kind}WithCovariance", covariance=unknown, **one
        )
        for kind, one in (("Pose", {"pose": pose}), ("Twist", {"twist": twist}))
    )
    return bag.message(
        ODOMETRY,
        header=bag.header(time_ns, world),
        child_frame_id=base,
        pose=with_pose,
        twist=with_twist,
    )


def static_transforms(
    bag: BagWriter, time_ns: int, placed: Sequence[tuple[str, str, np.ndarray]]
) -> Any:
    """A ``TFMessage`` of (parent, child, (4, 4) parent_T_child)."""
    transforms = []
    for parent, child, parent_T_child in placed:
        place, turn = _parts(bag, parent_T_child, "geometry_msgs/msg/Vector3")
        one = bag.message(
            "geometry_msgs/msg/Transform", translation=place, rotation=turn
        )
        transforms.append(
            bag.message(
                "geometry_msgs/msg/TransformStamped",
                header=bag.header(time_ns, parent),
                child_frame_id=child,
                transform=one,
            )
        )
    return bag.message(TRANSFORMS, transforms=transforms)


def diagnostics(
    bag: BagWriter, time_ns: int, states: Sequence[tuple[int, str, str, Mapping]]
) -> Any:
    """A ``DiagnosticArray`` of (level, name, message, values by key)."""
    statuses = []
    for level, name, message, values in states:
        pairs = [
            bag.message("diagnostic_msgs/msg/KeyValue", key=key, value=str(value))
            for key, value in values.items()
        ]
        statuses.append(
            bag.message(
                "diagnostic_msgs/msg/DiagnosticStatus",
                level=level,
                name=name,
                message=message,
                hardware_id="",
                values=pairs,
            )
        )
    header = bag.header(time_ns, "")
    kind = "diagnostic_msgs/msg/DiagnosticArray"
    return bag.message(kind, header=header, status=statuses)


def _parts(bag: BagWriter, transform: np.ndarray, kind: str) -> tuple[Any, Any]:
    """Translation as a message of ``kind`` and rotation as a ``Quaternion``."""
    x, y, z = transform[:3, 3].tolist()
    qx, qy, qz, qw = Rotation.from_matrix(transform[:3, :3]).as_quat().tolist()
    quaternion = "geometry_msgs/msg/Quaternion"
    return bag.message(kind, x=x, y=y, z=z), bag.message(
        quaternion, x=qx, y=qy, z=qz, w=qw
    )
