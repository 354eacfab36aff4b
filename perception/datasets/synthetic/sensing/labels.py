"""KITTI labels from what a camera really sees.

Shape letters: N objects; H, W image height and width in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.core.geometry import project_to_image, rotation_y_to_alpha
from perception.core.structures import Objects
from perception.datasets.synthetic.assets.meshes import bounds
from perception.datasets.synthetic.sensing.sensors import pixel_rays
from perception.datasets.synthetic.sensing.tracing import Tracer
from perception.datasets.synthetic.world.scene import Scene, SceneObject

NEAR_M = 0.3
# Smallest labelled height as a share of the image's width: 8 px at 640.
MIN_HEIGHT_SHARE = 8 / 640
MAX_TRUNCATION = 0.9
# At least these shares of an object are visible at KITTI's occlusion levels 0, 1, 2.
VISIBLE_SHARES = (0.8, 0.5, 0.15)
# An object is sampled at this many rays at most to measure its whole silhouette.
_SAMPLES = 900


@dataclass(frozen=True)
class _Sight:
    """One object in the image: its clipped box, truncation and visible share."""

    box_px: np.ndarray
    truncation: float
    visible: float


def label_objects(scene: Scene, projection: np.ndarray, owner: np.ndarray) -> Objects:
    """Label every road user that a camera sees, nearest first, DontCare last.

    Objects that are too small, too hidden or too truncated become DontCare, which
    have no 3D box; what cannot be seen at all is left out.

    Args:
        scene: The scene.
        projection: (3, 4) projection of the labelled camera.
        owner: (H, W) index of the object in each pixel, -1 for none.
    """
    labelled: list[tuple[SceneObject, _Sight]] = []
    ignored: list[tuple[SceneObject, _Sight]] = []
    order = np.argsort([o.location_m[2] for o in scene.objects], kind="stable")
    for index in order:
        item = scene.objects[index]
        sight = _sight(item, projection, owner, int(index))
        if sight is None:
            continue
        height = sight.box_px[3] - sight.box_px[1]
        good = (
            height >= MIN_HEIGHT_SHARE * owner.shape[1]
            and sight.visible >= VISIBLE_SHARES[-1]
            and sight.truncation <= MAX_TRUNCATION
            and item.location_m[2] > 0
        )
        (labelled if good else ignored).append((item, sight))
    return _table(labelled, ignored)


def _sight(
    item: SceneObject, projection: np.ndarray, owner: np.ndarray, index: int
) -> _Sight | None:
    """How the camera sees an object, None if no part of it is in the image."""
    points = item.corners.reshape(-1, 3)
    front = points[points[:, 2] > NEAR_M]
    if not len(front):
        return None
    pixels, _ = project_to_image(projection, front)
    low, high = bounds(pixels)
    limit = np.array(owner.shape[::-1], float) - 1
    box_low, box_high = np.clip(low, 0, limit), np.clip(high, 0, limit)
    if (box_high - box_low < 1).any():
        return None
    truncation = 1 - np.prod(box_high - box_low) / np.prod(high - low)
    if len(front) < len(points):
        # What lies behind the camera is outside the image too.
        truncation = max(truncation, 1 - len(front) / len(points))
    pixels, seen = visible_pixels(owner, index, box_low, box_high)
    if not seen.any():
        return None
    alone = silhouette(Tracer(item.corners), projection, pixels).sum()
    visible = float(seen.sum() / alone) if alone else 0.0
    if visible <= 0:
        return None
    return _Sight(np.concatenate([box_low, box_high]), float(truncation), visible)


def visible_pixels(
    owner: np.ndarray, index: int, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A grid of pixels u, v (P, 2), and (P,) whether object ``index`` is seen there.

    ``owner`` (H, W) is the index of the object in each pixel; the grid lies between
    u, v ``low`` (2,) and ``high`` (2,), inside the image.
    """
    u = np.arange(np.ceil(low[0]), np.floor(high[0]) + 1)
    v = np.arange(np.ceil(low[1]), np.floor(high[1]) + 1)
    step = max(1, int(np.ceil(np.sqrt(len(u) * len(v) / _SAMPLES))))
    u, v = u[::step], v[::step]
    pixels = np.stack([np.tile(u, len(v)), v.repeat(len(u))], 1)
    seen = owner[v.astype(int)[:, None], u.astype(int)] == index
    return pixels, seen.ravel()


def silhouette(
    tracer: Tracer, projection: np.ndarray, pixels: np.ndarray
) -> np.ndarray:
    """(P,) whether the traced object alone would fill pixels (P, 2)."""
    return tracer.blocked(*pixel_rays(projection, pixels))


def _table(labelled: list, ignored: list) -> Objects:
    """KITTI's columns of labelled and ignored (object, sight) pairs."""
    boxes = [sight.box_px for _, sight in labelled + ignored]
    names = [item.name for item, _ in labelled] + ["DontCare"] * len(ignored)
    table = Objects.from_boxes(np.array(names, object), np.reshape(boxes, (-1, 4)))
    for row, (item, sight) in enumerate(labelled):
        table.truncation[row] = sight.truncation
        table.occlusion[row] = int(np.sum(sight.visible < np.array(VISIBLE_SHARES)))
        table.dimensions_m[row] = item.dimensions_m
        table.location_m[row] = item.location_m
        table.rotation_y[row] = item.rotation_y
        table.alpha[row] = rotation_y_to_alpha(table.rotation_y[row], item.location_m)
    return table
