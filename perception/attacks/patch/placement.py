"""Where an adversarial patch is: free in the image, on the road, on objects' faces.

A placement turns a sample into planes: the homography of each copy of the patch to
pixels of the detector's input, exact for the calibration (resized and mirrored images
included). Occlusion of a patch by nearer things is ignored; objects labelled as more
occluded than ``max_occlusion`` carry none.

Frames of reference as in ``perception.core.structures``: cam is x right, y down, z
forward.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np

from perception.attacks.batch import AttackBatch
from perception.attacks.patch.surfaces import (
    FACES,
    box_faces,
    camera_height,
    labelled_in_3d,
)

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
            keep &= np.isin(objects.names.astype(str), list(self.classes))
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


PLACEMENTS: dict[Any, type[Placement]] = {
    "image": ImagePlacement,
    "road": RoadPlacement,
    "face": FacePlacement,
}


def build_placement(config: Mapping[str, Any]) -> Placement:
    """A placement from a dict with ``on`` (image, road or face) and its fields."""
    values = dict(config)
    on = values.pop("on", None)
    if on not in PLACEMENTS:
        raise ValueError(f"a patch is placed on {', '.join(PLACEMENTS)}, not on {on!r}")
    return PLACEMENTS[on](**values)


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
