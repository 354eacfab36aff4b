"""Bags of ROS 1 (``.bag``) and ROS 2 (sqlite3 and MCAP) as streams of messages.

Needs the extra ``bags`` (``pip install -e '.[bags]'``). Messages are taken apart by the
definitions that rosbags ships and not by those that a bag carries, which would become
code: a bag is data. Types that the bag has of its own are listed, and not read.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from perception.core.dependencies import require_extra
from perception.core.structures import DataError
from perception.core.words import did_you_mean

Storage = Literal["mcap", "sqlite3", "ros1"]
NS = 1_000_000_000

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
POINTS = "sensor_msgs/msg/PointCloud2"
ODOMETRY = "nav_msgs/msg/Odometry"
TRANSFORMS = "tf2_msgs/msg/TFMessage"
# ROS 1 has transforms in one of two packages, which rosbags does not ship.
_ROS1_TRANSFORMS = (TRANSFORMS, "tf/msg/tfMessage")


class Topic(NamedTuple):
    """What a bag says about one of its topics."""

    kind: str
    messages: int


class Raw(NamedTuple):
    """A message as it is stored.

    Attributes:
        topic: Its topic.
        number: Its place among the topic's messages, from 0, in the bag's order.
        recorded_ns: When it was recorded.
        data: Its bytes.
    """

    topic: str
    number: int
    recorded_ns: int
    data: bytes


@cache
def type_store(ros: Literal[1, 2]) -> Any:
    """The definitions of the messages that we know."""
    types = require_extra("rosbags.typesys", "bags")
    if ros == 2:
        return types.get_typestore(types.Stores.ROS2_HUMBLE)
    store = types.get_typestore(types.Stores.ROS1_NOETIC)
    text = "geometry_msgs/TransformStamped[] transforms"
    for name in _ROS1_TRANSFORMS:
        store.register(types.get_types_from_msg(text, name))
    return store


@contextmanager
def bag_errors(path: object) -> Iterator[None]:
    """What rosbags and its storages raise about a damaged bag, as one DataError."""
    try:
        yield
    except (DataError, GeneratorExit):
        raise
    except Exception as error:  # of yaml, sqlite, lz4, zstd, struct, …
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise DataError(f"{path}: not a whole ROS bag ({reason})") from error


class Bag:
    """A bag to be read; a context manager.

    Args:
        path: A ``.bag``, ``.mcap`` or ``.db3`` file, or the folder of a ROS 2 bag.

    Attributes:
        topics: Its topics by name.

    Raises:
        DataError: If it is missing, damaged or none; also while messages are read.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self._is_ros1 = self.path.suffix == ".bag" and not self.path.is_dir()
        if not self.path.exists():
            raise DataError(f"{path}: no such bag")
        ros1 = require_extra("rosbags.rosbag1", "bags")
        ros2 = require_extra("rosbags.rosbag2", "bags")
        with bag_errors(path):
            reader = ros1.Reader if self._is_ros1 else ros2.Reader
            self._reader = reader(self.path)
        self._stack = ExitStack()
        self.topics: Mapping[str, Topic] = {}

    def __enter__(self) -> Bag:
        with bag_errors(self.path):
            self._stack.enter_context(self._reader)
            self.topics = {
                name: Topic(info.msgtype or "several types", info.msgcount)
                for name, info in sorted(self._reader.topics.items())
            }
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def contents(self) -> str:
        """All topics, in one line."""
        told = [f"{name} ({t.kind}, {t.messages})" for name, t in self.topics.items()]
        return ", ".join(told) or "nothing"

    def require(self, topic: str, wanted_as: str, kinds: Collection[str]) -> None:
        """Raise DataError unless the bag has messages of one of ``kinds`` there."""
        if topic not in self.topics:
            hint = did_you_mean(topic, self.topics)
            raise DataError(
                f"{self.path}: no topic {topic!r} ({wanted_as}){hint}; the bag holds "
                f"{self.contents()}"
            )
        found = self.topics[topic]
        if found.kind not in kinds:
            raise DataError(
                f"{self.path}: topic {topic!r} ({wanted_as}) is of {found.kind}, "
                f"expected {' or '.join(kinds)}; the bag holds {self.contents()}"
            )
        if not found.messages:
            raise DataError(f"{self.path}: topic {topic!r} has no messages")

    def messages(self, topics: Collection[str]) -> Iterator[Raw]:
        """The messages of some topics in the order in which they were recorded."""
        counts = dict.fromkeys(topics, 0)
        wanted = [c for c in self._reader.connections if c.topic in counts]
        if not wanted:
            return
        with bag_errors(self.path):
            for connection, time_ns, data in self._reader.messages(wanted):
                name = connection.topic
                yield Raw(name, counts[name], time_ns, data)
                counts[name] += 1

    def decode(self, raw: Raw) -> Any:
        """The message itself: a rosbags object with the fields of its type."""
        kind = self.topics[raw.topic].kind
        with bag_errors(f"{self.path}: {raw.topic}, message {raw.number}"):
            if self._is_ros1:
                return type_store(1).deserialize_ros1(raw.data, kind)
            return type_store(2).deserialize_cdr(raw.data, kind)

    def stamp_ns(self, raw: Raw) -> int:
        """The time in the header that the message begins with; 0 if it was not set."""
        with bag_errors(f"{self.path}: {raw.topic}, message {raw.number}"):
            if self._is_ros1:  # after the header's running number
                seconds, nanoseconds = struct.unpack_from("<II", raw.data, 4)
            else:  # after four bytes, the second of which is 1 for little endian
                order = "<" if raw.data[1] & 1 else ">"
                seconds, nanoseconds = struct.unpack_from(f"{order}iI", raw.data, 4)
        return int(seconds) * NS + int(nanoseconds)


class BagWriter:
    """A bag to be written: whole, under its name, when the ``with`` block ends well.

    Args:
        path: The folder of a ROS 2 bag, or a ``.bag`` file; what is there is replaced.
        storage: ``mcap`` or ``sqlite3`` for ROS 2, ``ros1``.

    Raises:
        DataError: If it cannot be written.
    """

    def __init__(self, path: str | os.PathLike, storage: Storage = "mcap") -> None:
        self.path, self.storage = Path(path), storage
        self._store = type_store(1 if storage == "ros1" else 2)
        # In a folder of its own: files within a bag are named after it.
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        new = self._temporary / self.path.name
        self._stack, self._connections = ExitStack(), dict[str, Any]()
        if storage == "ros1":
            module = require_extra("rosbags.rosbag1", "bags")
            self._writer = module.Writer(new)
        else:
            module = require_extra("rosbags.rosbag2", "bags")
            plugin = module.StoragePlugin[storage.upper()]
            more = {"version": 8, "storage_plugin": plugin}  # Iron's, and later
            self._writer = module.Writer(new, **more)

    def __enter__(self) -> BagWriter:
        try:
            _remove(self._temporary)
            self._temporary.mkdir(parents=True)
            self._stack.enter_context(self._writer)
        except OSError as error:
            raise DataError(f"{self.path}: cannot write: {error}") from error
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            self._stack.__exit__(kind, error, trace)
            if error is None:
                _remove(self.path)
                (self._temporary / self.path.name).rename(self.path)
        except OSError as failed:
            reason = failed.strerror or failed
            raise DataError(f"{self.path}: cannot write: {reason}") from failed
        finally:
            _remove(self._temporary)

    def message(self, kind: str, **fields: Any) -> Any:
        """A message of a type, e.g. ``std_msgs/msg/Header``, with these fields."""
        made = self._store.types[kind]
        if self.storage == "ros1":
            if kind == "std_msgs/msg/Header":
                fields = {"seq": 0, **fields}
            if kind == CAMERA_INFO:  # ROS 1 has capital letters
                fields = {n.upper() if len(n) == 1 else n: v for n, v in fields.items()}
        return made(**fields)

    def header(self, time_ns: int, frame: str) -> Any:
        """A ``std_msgs/msg/Header``."""
        stamp = self.message(
            "builtin_interfaces/msg/Time", sec=time_ns // NS, nanosec=time_ns % NS
        )
        return self.message("std_msgs/msg/Header", stamp=stamp, frame_id=frame)

    def write(self, topic: str, message: Any, recorded_ns: int) -> None:
        """Add a message to a topic, which is of that message's type."""
        kind = message.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=self._store
            )
        serialize = self._store.serialize_cdr
        if self.storage == "ros1":
            serialize = self._store.serialize_ros1
        data = serialize(message, kind)
        self._writer.write(self._connections[topic], recorded_ns, data)


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
