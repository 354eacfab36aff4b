"""Surfaces that can carry a patch, as labels and points tell them.

Frames of reference as in ``perception.core.structures``: cam is x right, y down, z
forward.

Shape letters: N objects, F faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from perception.attacks.batch import AttackBatch
from perception.core.structures import DataError, Objects

# Outward normal of a box's upright faces, as shares of its (forward, left) axes.
FACES = {"front": (1, 0), "rear": (-1, 0), "left": (0, 1), "right": (0, -1)}


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
    real = objects.select(objects.names.astype(str) != "DontCare")
    known = _known_3d(real)
    if len(real) and not known.any():
        raise DataError(
            f"frame {sample.frame_id}: a patch on objects needs labels with 3D boxes, "
            "and this frame's have 2D boxes only"
        )
    return real.select(known)


def _known_3d(objects: Objects) -> np.ndarray:
    return (objects.dimensions_m > 0).all(axis=1) & (objects.location_m[:, 2] > -999)
