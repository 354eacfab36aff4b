"""One synthetic frame: a random scene as every sensor of the rig delivers it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from perception.core.geometry import project_to_image, transform_points
from perception.core.structures import Calibration, Objects
from perception.datasets.stereo import stereo_depth
from perception.datasets.synthetic.assets.posters import poster_atlas
from perception.datasets.synthetic.sensing.labels import label_objects
from perception.datasets.synthetic.sensing.lidar import scan
from perception.datasets.synthetic.sensing.rendering import Renderer
from perception.datasets.synthetic.sensing.sensors import (
    auto_exposure,
    expose,
    look,
    rig,
)
from perception.datasets.synthetic.world.scene import BACKGROUND, Scene, random_scene


@dataclass(frozen=True)
class SyntheticFrame:
    """What one frame's files hold.

    Attributes:
        left_rgb, right_rgb: (H, W, 3) uint8.
        points: (P, 4) float32 x, y, z in metres in the LiDAR's frame, reflectance.
        depth_m: (H, W) float32 depth from the stereo pair, 0 = none.
        calibration: Of the rig.
        objects: Labels of the left image.
        owner: (H, W) index of the scene's object in each pixel, -1 for none.
        scene: What was seen.
    """

    left_rgb: np.ndarray
    right_rgb: np.ndarray
    points: np.ndarray
    depth_m: np.ndarray
    calibration: Calibration
    objects: Objects
    owner: np.ndarray
    scene: Scene


def make_frame(
    rng: np.random.Generator, width: int, height: int, *, full_lidar: bool = False
) -> SyntheticFrame:
    """A random scene and everything the sensors make of it."""
    return observe(rng, random_scene(rng), width, height, full_lidar=full_lidar)


def observe(
    rng: np.random.Generator,
    scene: Scene,
    width: int,
    height: int,
    *,
    full_lidar: bool = False,
) -> SyntheticFrame:
    """Everything the sensors make of a scene.

    Args:
        rng: Source of the sensors' noise.
        scene: What to look at.
        width: Image width in pixels.
        height: Image height in pixels.
        full_lidar: Keep the LiDAR's 360° instead of what the image shows.
    """
    cv2.setNumThreads(1)
    calibration = rig(width, height)
    right_P_cam = calibration.right_P_cam
    assert right_P_cam is not None
    renderer = Renderer(scene.mesh, scene.lighting, poster_atlas())
    left = look(renderer, calibration.image_P_cam, width, height)
    right = look(renderer, right_P_cam, width, height)
    exposure = auto_exposure(rng, left.radiance)
    left_rgb = expose(rng, left.radiance, exposure)
    right_rgb = expose(rng, right.radiance, exposure)
    owner = np.where(left.triangle >= 0, scene.owner[left.triangle], BACKGROUND)
    return SyntheticFrame(
        left_rgb=left_rgb,
        right_rgb=right_rgb,
        points=_cloud(rng, renderer, calibration, width, height, full_lidar),
        depth_m=stereo_depth(left_rgb, right_rgb, calibration),
        calibration=calibration,
        objects=label_objects(scene, calibration.image_P_cam, owner),
        owner=owner,
        scene=scene,
    )


def _cloud(rng, renderer, calibration: Calibration, width, height, full_lidar: bool):
    """The LiDAR's points, all of them or those inside the left image."""
    cam_T_lidar = calibration.cam_T_sensor["lidar"]
    if full_lidar:
        return scan(rng, renderer, cam_T_lidar)
    # A few degrees more than the image shows, since the LiDAR stands behind it.
    half_view = np.arctan(0.52 * width / calibration.fx_px) + np.radians(3)
    points = scan(rng, renderer, cam_T_lidar, float(half_view))
    cam = transform_points(cam_T_lidar, points[:, :3])
    pixels, depth_m = project_to_image(calibration.image_P_cam, cam)
    inside = (pixels >= 0) & (pixels <= (width - 1, height - 1))
    return points[inside.all(1) & (depth_m > 0)]
