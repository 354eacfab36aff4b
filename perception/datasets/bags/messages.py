"""What ROS messages hold: pictures, points, cameras and transforms as arrays.

Frames and the ``a_T_b`` notation are those of ``perception.core.structures``; a ROS
camera's optical frame has the axes of its ``cam`` frame.

Shape letters: H, W image height and width in pixels; P points; F fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from perception.core.geometry import inverse_transform
from perception.core.images import MAX_PIXELS, decode_image
from perception.core.structures import DataError

# Bytes per pixel, and how OpenCV makes RGB of them. Its names of Bayer patterns are
# those of the second row: ROS' rggb is its BayerBG.
_ENCODINGS: Mapping[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
}
# PointField's datatypes, from 1 on.
_NUMBERS = ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8")


def image_of(message: Any, where: str, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an ``Image`` or a ``CompressedImage``.

    Raises:
        DataError: If the picture is damaged, too large, of more than 8 bits, or its
            encoding is unknown.
    """
    if not hasattr(message, "encoding"):
        return decode_image(message.data.tobytes(), where, max_pixels=max_pixels)
    height, width, step = message.height, message.width, message.step
    if message.encoding not in _ENCODINGS:
        known = ", ".join(_ENCODINGS)
        raise DataError(
            f"{where}: pictures of encoding {message.encoding!r} are not read, only "
            f"{known} and compressed ones"
        )
    size, conversion = _ENCODINGS[message.encoding]
    if not 0 < height * width <= max_pixels:
        raise DataError(
            f"{where}: {width} x {height} pixels, expected 1 to {max_pixels} in all"
        )
    data = np.asarray(message.data)
    if step < width * size or data.size < height * step:
        raise DataError(
            f"{where}: {data.size} bytes, expected {height} rows of {step} bytes, each "
            f"at least {width} x {size}"
        )
    rows = data[: height * step].reshape(height, step)[:, : width * size]
    pixels = np.ascontiguousarray(rows).reshape(height, width, size)
    if conversion is None:
        return pixels
    try:
        return cv2.cvtColor(pixels, conversion)
    except cv2.error as error:
        raise DataError(f"{where}: cannot convert the picture: {error.err}") from error


def fields_of(message: Any, names: Sequence[str], where: str) -> np.ndarray:
    """(P, F) float64 numbers of the named fields of a ``PointCloud2``.

    Fields may come in any order, of any type and with gaps between them; the cloud may
    be organised and its rows padded. Points with a number that is not finite, which
    mean "no return", are left out.

    Raises:
        DataError: If a field is missing, or the sizes contradict each other.
    """
    known: dict[str, Any] = {}
    for field in message.fields:
        known.setdefault(field.name, field)
    if missing := [name for name in names if name not in known]:
        raise DataError(
            f"{where}: the points have no field {missing[0]!r}, only {', '.join(known)}"
        )
    step, order = message.point_step, ">" if message.is_bigendian else "<"
    formats, offsets = [], []
    for name in names:
        field = known[name]
        if not 1 <= field.datatype <= len(_NUMBERS) or field.count > 1:
            raise DataError(
                f"{where}: field {name!r} is {field.count} numbers of datatype "
                f"{field.datatype}, expected one of datatype 1 to {len(_NUMBERS)}"
            )
        formats.append(order + _NUMBERS[field.datatype - 1])
        offsets.append(field.offset)
    ends = [o + int(f[2:]) for o, f in zip(offsets, formats, strict=True)]
    height, width, data = message.height, message.width, np.asarray(message.data)
    row = message.row_step if height > 1 else width * step
    if max(ends) > step or row < width * step or data.size < height * row:
        raise DataError(
            f"{where}: {data.size} bytes, expected {height} rows of {row} bytes with "
            f"{width} points of {step} bytes, which hold {max(ends)}"
        )
    rows = data[: height * row].reshape(height, row)[:, : width * step]
    kind = np.dtype(
        {
            "names": list(names),
            "formats": formats,
            "offsets": offsets,
            "itemsize": step,
        }
    )
    table = np.ascontiguousarray(rows).reshape(-1).view(kind)
    # Column by column: NumPy is slow at rows of four.
    columns = [table[name].astype(np.float64) for name in names]
    finite = np.logical_and.reduce([np.isfinite(column) for column in columns])
    numbers = np.empty((np.count_nonzero(finite), len(names)))
    for number, column in enumerate(columns):
        numbers[:, number] = column[finite]
    return numbers


def field_is_integer(message: Any, name: str) -> bool:
    """Whether a field of a ``PointCloud2`` holds whole numbers."""
    return any(f.name == name and f.datatype <= 6 for f in message.fields)


@dataclass(frozen=True)
class Camera:
    """A calibrated camera, as its ``CameraInfo`` has it.

    Attributes:
        frame: Name of its optical frame.
        size: (H, W) of its pictures in pixels.
        image_P_cam: (3, 4) projection of the rectified picture.
        matrix: (3, 3) of the raw picture.
        rect_T_optical: (4, 4) from the optical frame to that of the rectified picture.
        distortion: The lens model's numbers; none or zeros: no distortion.
        model: Name of the lens model.
    """

    frame: str
    size: tuple[int, int]
    image_P_cam: np.ndarray
    matrix: np.ndarray
    rect_T_optical: np.ndarray
    distortion: np.ndarray
    model: str

    @classmethod
    def of(cls, message: Any, where: str) -> Camera:
        """From a message of either ROS.

        Raises:
            DataError: If the camera is not calibrated.
        """
        numbers = {
            name: np.array(getattr(message, name, getattr(message, name.upper(), None)))
            for name in ("p", "k", "r", "d")
        }
        projection, matrix = numbers["p"].reshape(3, 4), numbers["k"].reshape(3, 3)
        if not projection[[0, 1, 2], [0, 1, 2]].all():  # never set
            projection = np.column_stack([matrix, np.zeros(3)])
        rotation = numbers["r"].reshape(3, 3)
        if not rotation.any():
            rotation = np.eye(3)
        parts = (projection, matrix, rotation, numbers["d"])
        good = all(np.isfinite(part).all() for part in parts)
        if not good or not projection[[0, 1, 2], [0, 1, 2]].all():
            raise DataError(
                f"{where}: the camera is not calibrated: P and K have a zero on the "
                "diagonal, or numbers that are not finite"
            )
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
            raise DataError(f"{where}: R is no rotation")
        frame = frame_name(message.header.frame_id)
        size = (int(message.height), int(message.width))
        d, model = numbers["d"].astype(np.float64), message.distortion_model
        rect_T_optical = np.eye(4)
        rect_T_optical[:3, :3] = rotation
        return cls(frame, size, projection, matrix, rect_T_optical, d, model)

    @property
    def is_distorted(self) -> bool:
        """Whether straight lines are bent in its raw pictures."""
        return bool(self.distortion.any())

    @cached_property
    def _maps(self) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.size
        target = np.ascontiguousarray(self.image_P_cam[:, :3])
        make: Any = None
        if self.model in ("plumb_bob", "rational_polynomial"):
            make = cv2.initUndistortRectifyMap
        if self.model in ("equidistant", "fisheye") and len(self.distortion) == 4:
            make = cv2.fisheye.initUndistortRectifyMap
        if make is not None:
            turn = self.rect_T_optical[:3, :3]
            size, kind = (width, height), cv2.CV_16SC2
            return make(self.matrix, self.distortion, turn, target, size, kind)
        raise DataError(
            f"pictures of the lens model {self.model!r} with {len(self.distortion)} "
            "numbers cannot be rectified here; record rectified ones"
        )

    def rectified(self, image: np.ndarray) -> np.ndarray:
        """The picture (H, W, 3) as a camera without distortion would see it."""
        return cv2.remap(image, *self._maps, cv2.INTER_LINEAR)


def frame_name(name: str) -> str:
    """A frame as tf2 has it: ROS 1 had slashes in front."""
    return name.lstrip("/")


def rigid(translation_m: Sequence[float], xyzw: Sequence[float]) -> np.ndarray:
    """(4, 4) transform of a translation and a unit quaternion x, y, z, w.

    Raises:
        DataError: If a number is not finite or the quaternion has no length.
    """
    x, y, z, w = quaternion = np.array(xyzw, np.float64)
    length = float(np.linalg.norm(quaternion))
    if not np.isfinite([*translation_m, length]).all() or abs(length - 1) > 0.01:
        raise DataError(
            f"not a transform: translation {[*translation_m]} m, quaternion {[*xyzw]} "
            "(expected finite numbers and a length of 1)"
        )
    x, y, z, w = (quaternion / length).tolist()
    transform = np.eye(4)
    transform[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    transform[:3, 3] = translation_m
    return transform


def rigid_of(message: Any, where: str) -> np.ndarray:
    """(4, 4) of a ROS ``Transform`` or ``Pose``."""
    place = getattr(message, "translation", None) or message.position
    turn = getattr(message, "rotation", None) or message.orientation
    try:
        return rigid((place.x, place.y, place.z), (turn.x, turn.y, turn.z, turn.w))
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


class FrameTree:
    """Where the frames of a vehicle are, from its static transforms."""

    def __init__(self) -> None:
        self._steps: dict[str, dict[str, np.ndarray]] = {}

    def add(self, parent: str, child: str, parent_T_child: np.ndarray) -> None:
        """Add the (4, 4) transform of a frame to another; the last one said holds."""
        self._steps.setdefault(parent, {})[child] = parent_T_child
        self._steps.setdefault(child, {})[parent] = inverse_transform(parent_T_child)

    def transform(self, a: str, b: str) -> np.ndarray:
        """The (4, 4) ``a_T_b``.

        Raises:
            DataError: If no way leads from one to the other.
        """
        reached, edge = {a: np.eye(4)}, [a]
        while edge and b not in reached:
            here = edge.pop(0)
            for there, here_T_there in self._steps.get(here, {}).items():
                if there not in reached:
                    reached[there] = reached[here] @ here_T_there
                    edge.append(there)
        if b not in reached:
            known = ", ".join(sorted(self._steps)) or "none"
            raise DataError(
                f"no static transform leads from frame {b!r} to {a!r}; frames known: "
                f"{known}. Add one under `transforms` in the topics file"
            )
        return reached[b]
