"""Where an adversarial patch is: free in the image, on the road, on objects' faces.

A placement turns a sample into planes: the homography of each copy of the patch to
pixels of the detector's input, exact for the calibration (resized and mirrored images
included). Occlusion of a patch by nearer things is ignored; objects labelled as more
occluded than ``max_occlusion`` carry none.

Frames of reference as in ``perception.core.structures``: cam is x right, y down, z
forward.

Shape letters: N objects, F faces.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np

from perception.attacks.batch import AttackBatch
from perception.attacks.registry import PLACEMENTS, class_of
from perception.core.structures import DataError, Objects

# Outward normal of a box's upright faces, as shares of its (forward, left) axes.
FACES = {"front": (1, 0), "rear": (-1, 0), "left": (0, 1), "right": (0, -1)}
_MIN_FACING = 0.1  # cosine below which a face is seen too much edge-on to matter
_NEAR_M = 0.5


@dataclass(frozen=True)
class PatchPlane:
    """One copy of the patch.

    Attributes:
        image_H_plane: (3, 3) homography of the patch's own coordinates, x right and
            y down from its centre, to pixels (of pixel centres); what lies before
            the camera has a positive third coordinate.
        size: (width, height) in the unit of these coordinates.
    """

    image_H_plane: np.ndarray
    size: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Placement(ABC):
    """Where the copies of a patch are in a frame."""

    on: str = field(init=False)

    def __post_init__(self) -> None:
        for each in fields(self):
            if isinstance(value := getattr(self, each.name), list):
                object.__setattr__(self, each.name, tuple(value))

    @property
    def printed_size_m(self) -> tuple[float, float] | None:
        """(width, height) in metres; None where a patch has no physical size."""
        return getattr(self, "size_m", None)

    @abstractmethod
    def place(self, batch: AttackBatch, frame: int) -> list[PatchPlane]:
        """The copies in one frame, the nearest first.

        Raises:
            ValueError: If the frame does not allow the placement.
        """


@PLACEMENTS.register_module(name="image")
@dataclass(frozen=True, kw_only=True)
class ImagePlacement(Placement):
    """Free in the image, upright, facing the camera.

    Attributes:
        size: (width, height) in ``unit``.
        center: Of the patch, as fractions of the image's width and height.
        unit: ``fraction`` of the image's width and height, or ``px`` of the
            detector's input.
    """

    size: tuple[float, float]
    center: tuple[float, float] = (0.5, 0.5)
    unit: Literal["fraction", "px"] = "fraction"
    on: str = field(default="image", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_size("size", self.size)
        if self.unit not in ("fraction", "px"):
            raise ValueError(
                f"a patch's unit must be fraction or px, got {self.unit!r}"
            )

    def place(self, batch: AttackBatch, frame: int) -> list[PatchPlane]:
        """One copy; what sticks out of the image is cut off."""
        height, width = batch.samples[frame].img_shape[:2]
        scale = (width, height) if self.unit == "fraction" else (1, 1)
        size = (self.size[0] * scale[0], self.size[1] * scale[1])
        if size[0] > width or size[1] > height:
            raise ValueError(
                f"a patch of {size[0]:g} x {size[1]:g} px is larger than the image, "
                f"{width} x {height} px"
            )
        # The image spans -0.5 … width - 0.5 in coordinates of pixel centres.
        x, y = self.center[0] * width - 0.5, self.center[1] * height - 0.5
        return [PatchPlane(np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]]), size)]


@PLACEMENTS.register_module(name="road")
@dataclass(frozen=True, kw_only=True)
class RoadPlacement(Placement):
    """Flat on the road, its lower edge towards the camera.

    The road is the plane at the camera's height below it, parallel to the cam
    frame's x and z axes.

    Attributes:
        size_m: (width, length along the road) in metres.
        distance_m: Of its centre, forward.
        lateral_m: Of its centre, to the right.
        camera_height_m: Above the road; None estimates it in each frame, see
            ``camera_height``.
    """

    size_m: tuple[float, float]
    distance_m: float
    lateral_m: float = 0.0
    camera_height_m: float | None = None
    on: str = field(default="road", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_size("size_m", self.size_m)
        for name in ("distance_m", "camera_height_m"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"a patch's {name} must be positive, got {value}")

    def place(self, batch: AttackBatch, frame: int) -> list[PatchPlane]:
        """One copy, also where it is out of view."""
        height_m = self.camera_height_m or camera_height(batch, frame)
        centre = np.array([self.lateral_m, height_m, self.distance_m])
        axes = np.array([[1.0, 0, 0], [0, 0, -1]])
        return [_plane(batch.samples[frame].image_P_cam, axes, centre, self.size_m)]


@PLACEMENTS.register_module(name="face")
@dataclass(frozen=True, kw_only=True)
class FacePlacement(Placement):
    """Centred on an upright face of labelled 3D boxes.

    An object whose face is smaller than the patch, hardly visible or behind the
    camera carries none; a frame without objects has none.

    Attributes:
        size_m: (width, height) in metres.
        face: ``front``, ``rear``, ``left`` or ``right`` as the object sees itself, or
            ``auto``: the one that faces the camera most.
        objects: ``all``, or ``largest``: that with the largest 2D box.
        classes: Label names that carry a patch; None means any but DontCare.
        max_occlusion: Objects labelled as more occluded carry none.
    """

    size_m: tuple[float, float]
    face: str = "auto"
    objects: Literal["all", "largest"] = "all"
    classes: Sequence[str] | None = None
    max_occlusion: int = 1
    on: str = field(default="face", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_size("size_m", self.size_m)
        if self.face not in (*FACES, "auto"):
            raise ValueError(
                f"unknown face {self.face!r}; expected auto, {', '.join(FACES)}"
            )
        if self.objects not in ("all", "largest"):
            raise ValueError(
                f"a patch's objects must be all or largest, got {self.objects!r}"
            )

    def place(self, batch: AttackBatch, frame: int) -> list[PatchPlane]:
        """A copy per object that can carry one, the nearest first."""
        sample = batch.samples[frame]
        objects = labelled_in_3d(sample)
        keep = objects.occlusion <= self.max_occlusion
        if self.classes is not None:
            keep &= objects.named(*self.classes)
        objects = objects.select(keep)
        names = list(FACES) if self.face == "auto" else [self.face]
        centres, rights, facing, widths = box_faces(objects, names, sample.image_P_cam)
        best = facing.argmax(axis=1) if len(objects) else np.zeros(0, int)
        of = np.arange(len(objects)), best
        carries = (facing[of] >= _MIN_FACING) & (centres[of][:, 2] >= _NEAR_M)
        carries &= widths[of] >= self.size_m[0]
        carries &= objects.dimensions_m[:, 0] >= self.size_m[1]
        chosen = np.flatnonzero(carries)
        if self.objects == "largest" and len(chosen):
            sides = objects.boxes_px[chosen, 2:] - objects.boxes_px[chosen, :2]
            chosen = chosen[[sides.prod(axis=1).argmax()]]
        chosen = chosen[np.argsort(centres[of][chosen, 2], kind="stable")]
        down = np.array([0.0, 1, 0])
        return [
            _plane(
                sample.image_P_cam,
                np.stack([rights[i, best[i]], down]),
                centres[i, best[i]],
                self.size_m,
            )
            for i in chosen
        ]


def build_placement(config: Mapping[str, Any]) -> Placement:
    """A placement from a dict with ``on`` (image, road or face) and its fields."""
    values = dict(config)
    chosen = class_of(values.pop("on", None), PLACEMENTS, "what a patch is placed on")
    placement: Placement = chosen(**values)
    return placement


def _plane(
    image_P_cam: np.ndarray,
    axes: np.ndarray,
    centre: np.ndarray,
    size_m: tuple[float, float],
) -> PatchPlane:
    """The plane through ``centre`` (3,) along ``axes`` (2, 3) in the cam frame."""
    cam_T_plane = np.zeros((4, 3))
    cam_T_plane[:3, :2], cam_T_plane[:3, 2], cam_T_plane[3, 2] = axes.T, centre, 1
    return PatchPlane(np.asarray(image_P_cam) @ cam_T_plane, size_m)


def _check_size(name: str, size: tuple[float, float]) -> None:
    if len(size) != 2 or not all(value > 0 for value in size):
        raise ValueError(
            f"a patch's {name} must be a positive width and height, got {size}"
        )


def box_faces(
    objects: Objects, names: Sequence[str], image_P_cam: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Upright faces of N boxes, F named ones of each.

    Returns:
        Centres (N, F, 3) in metres, the direction to the right as seen from outside
        (N, F, 3), the cosine between outward normal and the direction to the camera
        (N, F), and widths (N, F) in metres, all in the cam frame.
    """
    shares = np.array([FACES[name] for name in names], dtype=float)  # (F, 2)
    cos, sin = np.cos(objects.rotation_y), np.sin(objects.rotation_y)
    zero = np.zeros_like(cos)
    forward = np.stack([cos, zero, -sin], axis=-1)
    left = np.stack([sin, zero, cos], axis=-1)
    normals = np.einsum("fk,knc->nfc", shares, np.stack([forward, left]))
    height, width, length = objects.dimensions_m.T
    along = np.abs(shares[:, 0])
    reach = along * length[:, None] + (1 - along) * width[:, None]
    widths = along * width[:, None] + (1 - along) * length[:, None]
    centres = objects.location_m[:, None] + normals * reach[..., None] / 2
    centres[..., 1] -= height[:, None] / 2
    # Right is down x forward, and the viewer looks against the normal.
    rights = np.cross([0.0, 1, 0], -normals)
    camera = -np.linalg.solve(image_P_cam[:, :3], image_P_cam[:, 3])
    to_camera = camera - centres
    distance = np.linalg.norm(to_camera, axis=-1).clip(1e-9)
    return centres, rights, (normals * to_camera).sum(axis=-1) / distance, widths


def camera_height(batch: AttackBatch, frame: int) -> float:
    """Height of the camera above the road in metres, estimated from one frame.

    The median of the undersides of labelled objects within 50 m; without any, the
    commonest height (in steps of 5 cm) of points ahead of and below the camera.

    Raises:
        DataError: If the frame has neither.
    """
    sample = batch.samples[frame]
    objects = sample.get("objects")
    if objects is not None:
        below_m = objects.location_m[_known_3d(objects)]
        below_m = below_m[(below_m[:, 2] < 50) & (below_m[:, 1] > 0.3), 1]
        if len(below_m):
            return float(np.median(below_m))
    inverse = np.linalg.inv(sample.image_P_cam[:, :3])
    for name, image_P_sensor in sample.projections.items():
        if name not in batch.raw:
            continue
        points = batch.raw[name][frame][:, :3].detach().cpu().numpy().astype(float)
        shift = image_P_sensor[:, 3] - sample.image_P_cam[:, 3]
        cam = (points @ image_P_sensor[:, :3].T + shift) @ inverse.T
        ahead = (np.abs(cam[:, 0]) < 6) & (cam[:, 2] > 3) & (cam[:, 2] < 30)
        y_m = cam[ahead & (cam[:, 1] > 0.5) & (cam[:, 1] < 4), 1]
        if len(y_m):
            counts, edges = np.histogram(y_m, bins=70, range=(0.5, 4.0))
            return float(edges[counts.argmax()] + 0.025)
    raise DataError(
        f"frame {sample.frame_id}: neither objects nor points to estimate the camera's "
        "height from; give the patch's camera_height_m"
    )


def labelled_in_3d(sample: Any) -> Objects:
    """The frame's objects with known 3D boxes; none where it has no objects."""
    objects = sample.get("objects")
    if objects is None:
        raise DataError(
            f"frame {sample.frame_id}: a patch on objects needs labels with 3D boxes, "
            "and this frame has no labels"
        )
    real = objects.select(~objects.named("DontCare"))
    known = _known_3d(real)
    if len(real) and not known.any():
        raise DataError(
            f"frame {sample.frame_id}: a patch on objects needs labels with 3D boxes, "
            "and this frame's have 2D boxes only"
        )
    return real.select(known)


def _known_3d(objects: Objects) -> np.ndarray:
    return (objects.dimensions_m > 0).all(axis=1) & (objects.location_m[:, 2] > -999)
