"""Frames from messages that come one by one, as a ROS subscriber gets them."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np

from perception.core.geometry import inverse_transform
from perception.core.structures import Frame
from perception.datasets.bags.messages import frame_name
from perception.datasets.bags.rig import Rig
from perception.datasets.bags.storage import NS
from perception.datasets.bags.topics import Topics
from perception.datasets.stereo import stereo_depth


class LiveFrames:
    """Makes a frame as soon as a picture and all that goes with it have come.

    A picture whose companions never come makes none. Points stay where they were
    measured: the vehicle's way in between is not known yet.

    Args:
        topics: Which topics are which sensors; odometry is not used.
        depth: Whether a stereo pair also gives ``depth``.
    """

    def __init__(self, topics: Topics, *, depth: bool = True) -> None:
        self._rig, self._topics = Rig(topics), topics
        self._depth = depth and topics.right is not None
        self._needed = {*self._rig.pictures.values(), *chain(*topics.clouds().values())}
        self._latest: dict[str, Any] = {}
        self._done_ns = -1

    def take(self, topic: str, message: Any) -> Frame | None:
        """Take in a message; the frame that it completes, if it does.

        Raises:
            DataError: If the message is damaged, or the sensors' places do not follow
                from what has come so far.
        """
        self._rig.learn(topic, message, topic)
        if topic not in self._needed:
            return None
        self._latest[topic] = message
        self._rig.frames_of[topic] = frame_name(message.header.frame_id)
        if set(self._latest) != self._needed or set(self._rig.cameras) != set(
            self._rig.infos
        ):
            return None
        times_ns = {name: _time_ns(one) for name, one in self._latest.items()}
        now = times_ns[self._topics.camera]
        apart = max(abs(time - now) for time in times_ns.values())
        if now == self._done_ns or apart > self._topics.tolerance_s * NS:
            return None
        self._done_ns = now
        return self._frame(now)

    def _frame(self, time_ns: int) -> Frame:
        rig, latest = self._rig, self._latest
        rig.place()
        calibration = rig.calibration()
        camera = self._topics.camera
        sensors = {"camera": rig.picture(camera, latest[camera], camera)}
        for sensor, names in rig.clouds.items():
            parts = []
            for name in names:
                moved = inverse_transform(rig.cam_T_points) @ rig.rect_T_sensor[name]
                still = name == names[0] and sensor == next(iter(rig.clouds))
                parts.append(
                    rig.cloud(name, latest[name], None if still else moved, name)
                )
            sensors[sensor] = np.concatenate(parts)
        if self._depth:
            right = self._topics.right
            assert right is not None
            other = rig.picture(right, latest[right], right)
            sensors["depth"] = stereo_depth(sensors["camera"], other, calibration)
        size = rig.cameras["camera"].size
        return Frame(str(time_ns), sensors, calibration, size)


def _time_ns(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec) * NS + int(stamp.nanosec)
