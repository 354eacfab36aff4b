"""What nuScenes' sensors and annotators make of a sequence at one instant.

Shape letters: P points; A actors; H, W image height and width in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from perception.core.geometry import inverse_transform, transform_points
from perception.datasets.synthetic.assets.meshes import bounds
from perception.datasets.synthetic.nuscenes import radar as nuscenes_radar
from perception.datasets.synthetic.nuscenes.rig import HDL32, Sensor
from perception.datasets.synthetic.nuscenes.traffic import Sequence
from perception.datasets.synthetic.sensing.labels import (
    NEAR_M,
    silhouette,
    visible_pixels,
)
from perception.datasets.synthetic.sensing.lidar import scan
from perception.datasets.synthetic.sensing.posters import poster_atlas
from perception.datasets.synthetic.sensing.rendering import Renderer
from perception.datasets.synthetic.sensing.sensors import auto_exposure, expose, look
from perception.datasets.synthetic.sensing.tracing import Tracer
from perception.datasets.synthetic.world.scene import BACKGROUND

ANNOTATED_RANGE_M = 75.0


@dataclass(frozen=True)
class Photo:
    """A picture and what is in it.

    Attributes:
        rgb: (H, W, 3) uint8.
        owner: (H, W) actor in each pixel, -1 for none.
        projection: (3, 4) of the scene's frame to pixels.
    """

    rgb: np.ndarray
    owner: np.ndarray
    projection: np.ndarray


@dataclass(frozen=True)
class Annotation:
    """One road user as annotated, in the world frame.

    Attributes:
        mover: Its index in the sequence.
        base_m: (3,) centre of the box's bottom face.
        visible: Visible share over all cameras, 0 … 1.
        lidar_points: Number of LiDAR points in its box.
        radar_points: Number of radar returns in its box.
    """

    mover: int
    base_m: np.ndarray
    visible: float
    lidar_points: int
    radar_points: int


class Station:
    """A sequence at one instant.

    Road users stand still while the sensors of one instant fire one after the other,
    as if annotators had drawn each box where every sensor saw it; the own car moves.
    """

    def __init__(self, sequence: Sequence, time_s: float) -> None:
        """The sequence at a time in seconds."""
        self.sequence, self.time_s = sequence, time_s
        self._scene, self._view_T_world = sequence.at(time_s)

    @cached_property
    def renderer(self) -> Renderer:
        """The scene, ready to be looked at."""
        return Renderer(self._scene.mesh, self._scene.lighting, poster_atlas())

    def world_pose(self, sensor: Sensor) -> np.ndarray:
        """(4, 4) transform of the sensor's frame to the world when it fires."""
        time_s = self.time_s + sensor.delay_us * 1e-6
        return self.sequence.ego.pose(time_s) @ sensor.mounting

    def _pose(self, sensor: Sensor) -> np.ndarray:
        """(4, 4) transform of the sensor's frame to the scene's."""
        return self._view_T_world @ self.world_pose(sensor)

    def photograph(self, rng, sensor: Sensor, width: int, height: int) -> Photo:
        """A camera's picture."""
        sensor_T_scene = inverse_transform(self._pose(sensor))
        projection = sensor.intrinsic(width, height) @ sensor_T_scene[:3]
        view = look(self.renderer, projection, width, height)
        rgb = expose(rng, view.radiance, auto_exposure(rng, view.radiance))
        owner = self._scene.owner[view.triangle]
        return Photo(rgb, np.where(view.triangle >= 0, owner, BACKGROUND), projection)

    def lidar(self, rng, sensor: Sensor) -> np.ndarray:
        """(P, 5) float32 x, y, z in metres, intensity 0 … 255, ring (0 the lowest)."""
        points, laser = scan(rng, self.renderer, self._pose(sensor), beams=HDL32)
        ring = len(HDL32.elevations_deg) - 1 - laser
        intensity = np.round(points[:, 3] * 255)
        table = np.column_stack([points[:, :3], intensity, ring])
        return np.ascontiguousarray(table, np.float32)

    def radar(self, rng, sensor: Sensor) -> np.ndarray:
        """(P,) returns of dtype ``nuscenes_radar.POINT``."""
        time_s = self.time_s + sensor.delay_us * 1e-6
        ego, world_T_radar = self.sequence.ego, self.world_pose(sensor)
        lever = world_T_radar[:2, 3] - ego.pose(time_s)[:2, 3]
        turning = ego.yaw_rate(time_s) * np.array([-lever[1], lever[0]])
        axes = world_T_radar[:2, :2]
        actors = [mover.velocity_mps for mover in self.sequence.movers]
        motion = nuscenes_radar.Motion(
            own_mps=(ego.velocity_mps(time_s) + turning) @ axes,
            actors_mps=np.reshape(actors, (-1, 2)) @ axes,
        )
        scene, names = self._scene, tuple(item.name for item in self._scene.objects)
        return nuscenes_radar.scan(
            rng, self.renderer, scene.owner, names, motion, self._pose(sensor)
        )

    def annotate(
        self, photos: list[Photo], lidar_m: np.ndarray, radar_m: np.ndarray
    ) -> list[Annotation]:
        """Annotate what any sensor notices; (P, 3) points are in the world frame."""
        ego = self.sequence.ego.pose(self.time_s)[:3, 3]
        found = []
        for index, mover in enumerate(self.sequence.movers):
            offset = np.array([*mover.velocity_mps, 0.0]) * self.time_s
            base = mover.actor.base_m + offset
            if np.linalg.norm(base - ego) > ANNOTATED_RANGE_M:
                continue
            box = (base, mover.actor.yaw, mover.actor.size_m)
            made = Annotation(
                mover=index,
                base_m=base,
                visible=self._visible(photos, index),
                lidar_points=_count_inside(lidar_m, *box),
                radar_points=_count_inside(radar_m, *box),
            )
            if made.visible > 0 or made.lidar_points or made.radar_points:
                found.append(made)
        return found

    def _visible(self, photos: list[Photo], index: int) -> float:
        """Visible pixels over those that the actor alone would fill, all cameras."""
        corners = self._scene.objects[index].corners
        tracer = Tracer(corners)
        seen, alone = 0.0, 0.0
        for photo in photos:
            box = _image_box(photo, corners.reshape(-1, 3))
            if box is None:
                continue
            pixels, here = visible_pixels(photo.owner, index, *box)
            # Large boxes are sampled more coarsely: weigh by what a sample stands for.
            weight = float(np.prod(box[1] - box[0] + 1)) / len(pixels)
            seen += weight * here.sum()
            alone += weight * silhouette(tracer, photo.projection, pixels).sum()
        return min(seen / alone, 1.0) if alone else 0.0


def _image_box(photo: Photo, points: np.ndarray) -> tuple[np.ndarray, ...] | None:
    """Lowest and highest (2,) pixel of scene points in a photo, None if outside."""
    homogeneous = points @ photo.projection[:, :3].T + photo.projection[:, 3]
    front = homogeneous[homogeneous[:, 2] > NEAR_M]
    if not len(front):
        return None
    pixels = front[:, :2] / front[:, 2:]
    limit = np.array(photo.owner.shape[::-1], float) - 1
    low, high = np.clip(bounds(pixels), 0, limit)
    # The grid of pixels needs whole ones.
    low, high = np.ceil(low), np.floor(high)
    return None if (high - low < 1).any() else (low, high)


def _count_inside(points_m, base_m, yaw: float, size_m) -> int:
    """How many (P, 3) points lie in or on an upright box; all in one frame."""
    height, width, length = size_m
    local = points_m - base_m
    c, s = np.cos(yaw), np.sin(yaw)
    along = c * local[:, 0] + s * local[:, 1]
    across = c * local[:, 1] - s * local[:, 0]
    inside = (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)
    return int(np.sum(inside & (local[:, 2] >= 0) & (local[:, 2] <= height)))


def to_world(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(P, 3) world points of a sensor's (P, ≥3) table."""
    return transform_points(pose, points[:, :3].astype(np.float64))
