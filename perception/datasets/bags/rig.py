"""A vehicle's sensors as its topics and messages say: where they are, what they see.

Shape letters: H, W image height and width in pixels; P points; F fields.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np

from perception.core.geometry import inverse_transform, transform_points
from perception.core.structures import Calibration, DataError
from perception.datasets.bags.messages import (
    Camera,
    FrameTree,
    field_is_integer,
    fields_of,
    frame_name,
    image_of,
    rigid,
    rigid_of,
)
from perception.datasets.bags.topics import Topics

# Vehicle axes (x forward, y left, z up) to a camera's, for rigs without any points.
_AXES = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


class Rig:
    """What is known of the sensors from the messages so far.

    Attributes:
        topics: Which topics are which sensors.
        clouds: The topics of each point sensor.
        pictures: The topic of ``camera`` and, of a pair, ``right``.
        cameras: Their calibrations, as far as known.
        rect_T_sensor: For each topic of points (4, 4) from its frame to the picture's.
        cam_T_points: (4, 4) to the picture's frame from that of all points, which is
            the first topic's.
    """

    def __init__(self, topics: Topics) -> None:
        self.topics, self.clouds = topics, topics.clouds()
        pictures = {"camera": topics.camera, "right": topics.right}
        self.pictures = {what: name for what, name in pictures.items() if name}
        infos = {"camera": topics.camera_info, "right": topics.right_info}
        self.infos = {what: name for what, name in infos.items() if name}
        self.cameras: dict[str, Camera] = {}
        self.frames_of: dict[str, str] = {}
        self.tree = FrameTree()

    def learn(self, topic: str, message: Any, where: str) -> None:
        """Take in a calibration or static transforms; of calibrations the first."""
        if topic == self.topics.tf_static:
            for one in message.transforms:
                parent = frame_name(one.header.frame_id)
                moved = rigid_of(one.transform, where)
                self.tree.add(parent, frame_name(one.child_frame_id), moved)
        for what, info in self.infos.items():
            if info == topic and what not in self.cameras:
                self.cameras[what] = Camera.of(message, where)

    def place(self) -> None:
        """Find out where the sensors are, once the frames of all are known.

        Raises:
            DataError: If no transform leads from a sensor to the camera.
        """
        for given in self.topics.transforms:
            moved = rigid(given.translation_m, given.rotation_xyzw)
            self.tree.add(given.parent, given.child, moved)
        camera = self.cameras["camera"]
        self.rect_T_sensor = {
            name: camera.rect_T_optical
            @ self.tree.transform(camera.frame, self.frames_of[name])
            for name in chain(*self.clouds.values())
        }
        self.cam_T_points = next(iter(self.rect_T_sensor.values()), _AXES)

    def calibration(self) -> Calibration:
        """Of all frames, with the pair's right camera if there is one.

        Raises:
            DataError: If the pair is none.
        """
        places = dict.fromkeys(self.clouds, self.cam_T_points) or {"lidar": _AXES}
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
                    f"{self.topics.camera} and {self.topics.right} "
                    "are no rectified pair: their projections P must be the same but "
                    "for the distance between them"
                )
        return Calibration(left.image_P_cam, places, right_P_cam)

    def picture(self, topic: str, message: Any, where: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB, rectified.

        Raises:
            DataError: If the picture is damaged or not of the calibration's size.
        """
        image = image_of(message, where)
        camera = self.camera_of(topic)
        if image.shape[:2] != camera.size:
            raise DataError(
                f"{where}: a picture of size {image.shape[:2]}, but its calibration "
                f"is of {camera.size} (height, width)"
            )
        return camera.rectified(image) if self.must_rectify(topic) else image

    def camera_of(self, topic: str) -> Camera:
        """The calibration of a topic of pictures."""
        return self.cameras["camera" if topic == self.topics.camera else "right"]

    def must_rectify(self, topic: str) -> bool:
        """Whether the topic's pictures are not rectified yet."""
        if self.topics.rectified is None:
            return self.camera_of(topic).is_distorted and "rect" not in topic
        return not self.topics.rectified

    def cloud(
        self, topic: str, message: Any, points_T_sensor: np.ndarray | None, where: str
    ) -> np.ndarray:
        """(P, 3 + F) float32 points, moved by (4, 4) ``points_T_sensor`` if given.

        Raises:
            DataError: If a field is missing or its numbers are out of range.
        """
        lidar = topic in self.topics.lidar
        more = (self.topics.intensity,) if lidar else self.topics.radar_fields
        points = fields_of(message, ("x", "y", "z", *more), where)
        if lidar:
            points[:, 3] = self._reflectance(message, points[:, 3], where)
        if points_T_sensor is not None:
            points[:, :3] = transform_points(points_T_sensor, points[:, :3])
        return points.astype(np.float32)

    def _reflectance(
        self, message: Any, intensity: np.ndarray, where: str
    ) -> np.ndarray:
        """(P,) 0 … 1 of intensities in the sensor's units."""
        name, most = self.topics.intensity, self.topics.intensity_max
        if most is None:
            most = 255.0 if field_is_integer(message, name) else 1.0
        found = intensity.max(initial=0.0)
        if found > most or intensity.min(initial=0.0) < 0:
            raise DataError(
                f"{where}: field {name!r} goes from {intensity.min():g} to {found:g}, "
                f"expected 0 to {most:g}; set intensity_max in the topics file, e.g. "
                "to 255"
            )
        return intensity / most
