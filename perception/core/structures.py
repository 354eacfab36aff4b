"""The values every part of the program shares: a frame, its calibration, its objects.

Shape letters: H, W image height and width in pixels; P points; N objects; C channels.

Frames of reference: ``cam`` is the rectified reference camera (x right, y down, z
forward, metres), ``image`` the pixels of the reference image (u right, v down),
and each point sensor has its own frame, named as the sensor is (x forward, y left,
z up, metres). ``a_T_b`` carries homogeneous coordinates from frame b to frame a.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from perception.core.geometry import rotation_y_to_alpha

SensorKind = Literal["image", "depth", "points", "array"]


class DataError(ValueError):
    """Input that cannot be used; the message names the file and what was expected."""


def class_key(name: str) -> str:
    """What names of classes are compared by: without regard to case, as KITTI does."""
    return name.lower()


@dataclass(frozen=True)
class Channel:
    """One channel of a sensor's model input.

    Attributes:
        name: What it holds, e.g. ``"depth_m"``.
        unit: Its unit as people write it, e.g. ``"m"`` or ``"grey levels"``.
        low: Smallest physically possible value.
        high: Largest physically possible value.
    """

    name: str
    unit: str
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(
                f"channel {self.name!r}: low must be below high, got "
                f"[{self.low}, {self.high}]"
            )


@dataclass(frozen=True)
class SensorSpec:
    """What one sensor delivers and what the model sees of it.

    Attributes:
        name: The sensor's name, the same everywhere (config, tables, pictures).
        kind: ``image`` is an (H, W, C) picture, ``depth`` an (H, W) map in metres
            where 0 means no return, ``points`` a (P, 3 + F) array rasterised to
            an image, ``array`` any (H, W, C) or (H, W) of a size of its own, such as a
            signal over W moments.
        channels: The channels of the model input (N, C, H, W), in order.
        columns: For ``points`` only: the names of the array's columns; the first
            three are ``x``, ``y``, ``z`` in metres in the sensor's own frame. The
            raster's channels are ``depth_m`` (z in the cam frame), ``height_m``
            (z in the sensor's frame) or the name of a column. If the channels are the
            columns themselves, nothing is drawn: the model sees a table of the points
            (see ``is_table``).
        pillar_m: For ``points`` of a sensor that measures no height, such as a radar:
            each point is drawn as an upright line between these heights in the
            sensor's frame, whatever its z.
    """

    name: str
    kind: SensorKind
    channels: tuple[Channel, ...]
    columns: tuple[str, ...] = ()
    pillar_m: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(SensorKind):
            raise ValueError(
                f"sensor {self.name!r}: kind must be image, depth, points or array, "
                f"got {self.kind!r}"
            )
        if not self.channels:
            raise ValueError(f"sensor {self.name!r} needs at least one channel")
        if self.pillar_m is not None and (
            self.kind != "points" or not self.pillar_m[0] < self.pillar_m[1]
        ):
            raise ValueError(
                f"sensor {self.name!r}: pillar_m is (low, high) of a points sensor, "
                f"got {self.pillar_m} of kind {self.kind!r}"
            )
        if self.kind == "points":
            if self.columns[:3] != ("x", "y", "z"):
                raise ValueError(
                    f"sensor {self.name!r}: columns must begin with x, y, z, "
                    f"got {self.columns}"
                )
            known = {"depth_m", "height_m", *self.columns[3:]}
            unknown = [c.name for c in self.channels if c.name not in known]
            if unknown and not self.is_table:
                raise ValueError(
                    f"sensor {self.name!r}: channels {unknown} are neither depth_m, "
                    f"height_m nor one of the columns {self.columns[3:]}"
                )

    @property
    def is_table(self) -> bool:
        """Whether the model sees points themselves, (N, 3 + F, P, 1), and no drawing.

        Frames with fewer points are padded with rows of zeros, which are no points.
        """
        return self.columns == tuple(channel.name for channel in self.channels)

    @property
    def max_depth_m(self) -> float:
        """Of ``points``: those farther away do not fit the raster and are not drawn."""
        depth = [c.high for c in self.channels if c.name == "depth_m"]
        return depth[0] if depth else float("inf")

    @property
    def depth_channel(self) -> int | None:
        """Number of the channel of depths in metres, 0 m for no return; None: none.

        Of a ``depth`` sensor or drawn ``points`` the first in "m" that is never
        negative, as heights may be.
        """
        if self.kind not in ("depth", "points") or self.is_table:
            return None
        lengths = (c.unit == "m" and c.low >= 0 for c in self.channels)
        return next((n for n, length in enumerate(lengths) if length), None)

    @classmethod
    def from_config(cls, name: str, config: Mapping) -> SensorSpec:
        """Build from the plain dict a config holds (channels as 4-tuples)."""
        pillar_m = config.get("pillar_m")
        return cls(
            name=name,
            kind=config["kind"],
            channels=tuple(Channel(*channel) for channel in config["channels"]),
            columns=tuple(config.get("columns", ())),
            pillar_m=None if pillar_m is None else (pillar_m[0], pillar_m[1]),
        )


@dataclass(frozen=True)
class Calibration:
    """Where the sensors are and how the reference camera projects.

    Attributes:
        image_P_cam: (3, 4) projection of homogeneous cam coordinates to pixels of
            the reference (left) image. Resizing, cropping and mirroring the image
            are left multiplications of this matrix; points never need to move.
        cam_T_sensor: For each point sensor, the (4, 4) transform of its frame to
            the cam frame.
        right_P_cam: (3, 4) projection of the right stereo image, or None.
    """

    image_P_cam: np.ndarray
    cam_T_sensor: Mapping[str, np.ndarray] = field(default_factory=dict)
    right_P_cam: np.ndarray | None = None

    @property
    def fx_px(self) -> float:
        """Horizontal focal length of the reference image in pixels."""
        return float(abs(self.image_P_cam[0, 0]))

    @property
    def baseline_m(self) -> float | None:
        """Distance of the stereo pair's centres in metres, None without a pair."""
        if self.right_P_cam is None:
            return None
        left, right = self.image_P_cam, self.right_P_cam
        return float(abs(left[0, 3] / left[0, 0] - right[0, 3] / right[0, 0]))

    def with_image_transform(self, transform: np.ndarray) -> Calibration:
        """The calibration after pixels moved by a (3, 3) homogeneous transform."""
        right = None if self.right_P_cam is None else transform @ self.right_P_cam
        return replace(
            self, image_P_cam=transform @ self.image_P_cam, right_P_cam=right
        )


@dataclass(frozen=True)
class Objects:
    """Labelled or detected objects of one frame, one array per KITTI label column.

    Attributes:
        names: (N,) class names, as in the label file (``Car``, ``DontCare``, …).
        boxes_px: (N, 4) x1, y1, x2, y2 in pixels of the reference image.
        truncation: (N,) 0 (inside the image) … 1; -1 where unknown.
        occlusion: (N,) 0 visible, 1 partly, 2 largely occluded, 3 unknown; -1 unset.
        alpha: (N,) observation angle in radians, -10 where unknown.
        dimensions_m: (N, 3) height, width, length; -1 where unknown.
        location_m: (N, 3) centre of the bottom face in the cam frame; -1000 unknown.
        rotation_y: (N,) yaw around the cam y axis in radians, -10 where unknown.
        scores: (N,) confidence of a detection, None for ground truth.
    """

    names: np.ndarray
    boxes_px: np.ndarray
    truncation: np.ndarray
    occlusion: np.ndarray
    alpha: np.ndarray
    dimensions_m: np.ndarray
    location_m: np.ndarray
    rotation_y: np.ndarray
    scores: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    def named(self, *names: str) -> np.ndarray:
        """(N,) whether an object has one of these class names, see ``class_key``."""
        keys = {class_key(name) for name in names}
        return np.array([class_key(str(name)) in keys for name in self.names], bool)

    def __deepcopy__(self, memo: dict) -> Objects:
        """Itself: nobody changes it, and MMEngine copies samples at every turn."""
        return self

    def select(self, keep: np.ndarray) -> Objects:
        """The objects that a boolean mask or an index array picks, in order."""
        picked = {
            name: value[keep] for name, value in vars(self).items() if value is not None
        }
        return replace(self, **picked)

    @classmethod
    def from_boxes(
        cls,
        names: np.ndarray,
        boxes_px: np.ndarray,
        scores: np.ndarray | None = None,
        boxes_3d: np.ndarray | None = None,
    ) -> Objects:
        """Objects known by their 2D boxes; other columns say "unknown".

        Args:
            names: (N,) class names.
            boxes_px: (N, 4) see the class.
            scores: (N,) of detections.
            boxes_3d: (N, 7) location, dimensions and yaw, see the class; None: unknown.
        """
        count = len(names)

        def unknown(value: float, *more: int) -> np.ndarray:
            # One read-only number for detections, of which many frames' are kept.
            shape = (count, *more)
            if scores is None:
                return np.full(shape, value)
            return np.broadcast_to(value, shape)

        flat = cls(
            names=np.asarray(names, dtype=object).reshape(count),
            boxes_px=np.asarray(boxes_px, dtype=np.float64).reshape(count, 4),
            truncation=unknown(-1.0),
            occlusion=unknown(-1),
            alpha=unknown(-10.0),
            dimensions_m=unknown(-1.0, 3),
            location_m=unknown(-1000.0, 3),
            rotation_y=unknown(-10.0),
            scores=None if scores is None else np.asarray(scores, dtype=np.float64),
        )
        if boxes_3d is None:
            return flat
        space = np.asarray(boxes_3d, dtype=np.float64).reshape(count, 7)
        return replace(
            flat,
            location_m=space[:, :3],
            dimensions_m=space[:, 3:6],
            rotation_y=space[:, 6],
            alpha=rotation_y_to_alpha(space[:, 6], space[:, :3]),
        )

    @property
    def boxes_3d(self) -> np.ndarray | None:
        """(N, 7) as :meth:`from_boxes` takes them; None if none is known."""
        if not (self.dimensions_m > 0).any():
            return None
        columns = [self.location_m, self.dimensions_m, self.rotation_y[:, None]]
        return np.concatenate(columns, axis=1)


@dataclass(frozen=True)
class Frame:
    """One moment seen by every sensor, raw and in physical units.

    Attributes:
        frame_id: Name of the frame, e.g. ``"000017"``.
        sensors: For each sensor its raw array: ``image`` (H, W, 3) uint8 RGB,
            ``depth`` (H, W) float32 metres (0 = no return), ``points`` (P, 3 + F)
            float32 with x, y, z in metres in the sensor's frame, ``array`` float32.
        calibration: Projection and transforms that fit these arrays.
        image_size: (H, W) of the reference image in pixels.
        objects: Ground truth, None where there is none.
        sources: For each sensor (and ``calib``, ``objects``) the file it came from.
    """

    frame_id: str
    sensors: Mapping[str, np.ndarray]
    calibration: Calibration
    image_size: tuple[int, int]
    objects: Objects | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Prediction:
    """What a system says of one frame.

    Attributes:
        detections: In pixels of the original image.
        gate: (S + 1,) probabilities that each sensor is compromised, the last one that
            none is; None without a gate.
        alarm: Above 0 if some sensor is compromised, whether or not it is known which;
            None for systems without such a state.
    """

    detections: Objects
    gate: tuple[float, ...] | None = None
    alarm: float | None = None
