"""Random street scenes as a KITTI object folder, made in parallel and resumably."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from perception.core.files import claim
from perception.core.geometry import project_to_image, transform_points
from perception.core.shards import Shard, at_work
from perception.core.structures import Calibration, DataError, Objects
from perception.datasets.kitti import files as kitti_files
from perception.datasets.splits import write_split
from perception.datasets.stereo import stereo_depth
from perception.datasets.synthetic.generate import (
    RECIPE,
    check_at_least,
    make_missing,
    parse_size,
    take_parts,
)
from perception.datasets.synthetic.sensing import sensors
from perception.datasets.synthetic.sensing.labels import label_objects
from perception.datasets.synthetic.sensing.lidar import scan
from perception.datasets.synthetic.sensing.posters import poster_atlas
from perception.datasets.synthetic.sensing.rendering import Renderer
from perception.datasets.synthetic.world.scene import BACKGROUND, Scene, random_scene

# Raise it when the same seed gives other scenes: old and new frames must not mix.
GENERATOR_VERSION = 1
# The label comes last: a frame that has one is complete.
FRAME_FILES = (
    "image_2/{}.png",
    "image_3/{}.png",
    "velodyne/{}.bin",
    "depth_2/{}.png",
    "calib/{}.txt",
    "label_2/{}.txt",
)


@dataclass(frozen=True)
class Recipe:
    """What determines every frame's content.

    Attributes:
        seed: Seed of the set; frame k draws from (seed, k) alone.
        width: Image width in pixels.
        height: Image height in pixels.
        full_lidar: Whether clouds span 360° instead of the image.
        version: Version of the generator.
    """

    seed: int
    width: int
    height: int
    full_lidar: bool = False
    version: int = GENERATOR_VERSION


def generate(
    out: str | os.PathLike,
    *,
    frames: int,
    val_frames: int = 0,
    seed: int = 0,
    size: str = "640x192",
    jobs: int = 1,
    full_lidar: bool = False,
    only: Literal["train", "val"] | None = None,
    progress: bool = True,
    shard: Shard | None = None,
    merge: Sequence[str] = (),
) -> Path:
    """Make a synthetic data set; frames that are already complete are kept.

    Args:
        out: Folder to fill with ``training`` and ``ImageSets``; it is returned.
        frames: Number of training frames, named 000000 onwards.
        val_frames: Number of validation frames, named after the training frames.
        seed: The same seed gives the same files, whatever ``jobs``.
        size: Image size as ``WIDTHxHEIGHT`` in pixels.
        jobs: Number of worker processes, each using one core.
        full_lidar: Keep the LiDAR's 360° instead of what the image shows.
        only: Make the frames of this split alone, the same as all would hold.
        progress: Whether to show a progress bar.
        shard: Make only every n-th frame; whoever makes the last one writes the splits.
        merge: Folders of other machines' shards: their frames are taken first.

    Raises:
        DataError: If an argument is out of range, a folder holds another data set,
            or a file cannot be written.
    """
    check_at_least(1, frames=frames)
    check_at_least(0, val_frames=val_frames, seed=seed)
    check_at_least(1, jobs=jobs)
    root, recipe = Path(out), Recipe(seed, *parse_size(size), full_lidar)
    with at_work(root, "making data", shard):
        claim(root / RECIPE, asdict(recipe), taken="training")
        everything = [f"{index:06d}" for index in range(frames + val_frames)]
        splits = {"train": everything[:frames], "val": everything[frames:]}
        names = everything if only is None else splits[only]
        if not names:
            raise DataError(
                f"--only {only}: there are no such frames; give --val-frames"
            )
        take_parts(root, merge, partial(_files_to_take, names=names))
        make_missing(
            partial(write_frame, root, recipe),
            names,
            partial(is_complete, root),
            root=root,
            shard=shard,
            jobs=jobs,
            unit="frame",
            progress=progress,
        )
        if not all(is_complete(root, name) for name in names):
            return root  # other shards go on
        written = splits | {"trainval": everything} if only is None else {only: names}
        for split, ids in written.items():
            path = root / "ImageSets" / f"{split}.txt"
            if ids:
                write_split(path, ids)
            else:
                # Left by a run that had validation frames, it would overlap now.
                path.unlink(missing_ok=True)
    return root


def _files_to_take(other: Path, root: Path, names: Sequence[str]) -> Iterator[Path]:
    """Of the frames that are complete in another folder and not in this one."""
    for name in names:
        if is_complete(other, name) and not is_complete(root, name):
            yield from (Path("training") / file.format(name) for file in FRAME_FILES)


def is_complete(root: Path, name: str) -> bool:
    """Whether all files of the frame ``name`` are below ``root``/training."""
    return all((root / "training" / f.format(name)).exists() for f in FRAME_FILES)


def write_frame(root: Path, recipe: Recipe, name: str) -> None:
    """Make frame ``name`` and write its files below ``root``/training.

    Raises:
        DataError: If a file cannot be written.
    """
    rng = np.random.default_rng((recipe.seed, int(name)))
    scene, size = random_scene(rng), (recipe.width, recipe.height)
    made = observe(rng, scene, *size, full_lidar=recipe.full_lidar)
    write_made(root, name, made)


def write_made(root: Path, name: str, made: SyntheticFrame) -> None:
    """Write the files of frame ``name`` below ``root``/training, the label last.

    Raises:
        DataError: If a file cannot be written.
    """
    image_2, image_3, velodyne, depth_2, calib, label_2 = (
        root / "training" / file.format(name) for file in FRAME_FILES
    )
    kitti_files.write_image(image_2, made.left_rgb)
    kitti_files.write_image(image_3, made.right_rgb)
    kitti_files.write_points(velodyne, made.points)
    kitti_files.write_depth(depth_2, made.depth_m)
    kitti_files.write_calib(calib, made.calibration)
    kitti_files.write_objects(label_2, made.objects)


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


def observe(
    rng: np.random.Generator,
    scene: Scene,
    width: int,
    height: int,
    *,
    full_lidar: bool = False,
) -> SyntheticFrame:
    """Everything the sensors make of a scene, in images of width × height pixels.

    With ``full_lidar`` the LiDAR keeps its 360° instead of what the image shows.
    """
    cv2.setNumThreads(1)
    calibration = sensors.rig(width, height)
    right_P_cam = calibration.right_P_cam
    assert right_P_cam is not None
    renderer = Renderer(scene.mesh, scene.lighting, poster_atlas())
    left = sensors.look(renderer, calibration.image_P_cam, width, height)
    right = sensors.look(renderer, right_P_cam, width, height)
    exposure = sensors.auto_exposure(rng, left.radiance)
    left_rgb = sensors.expose(rng, left.radiance, exposure)
    right_rgb = sensors.expose(rng, right.radiance, exposure)
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
        return scan(rng, renderer, cam_T_lidar)[0]
    # A few degrees more than the image shows, since the LiDAR stands behind it.
    half_view = np.arctan(0.52 * width / calibration.fx_px) + np.radians(3)
    points, _ = scan(rng, renderer, cam_T_lidar, float(half_view))
    cam = transform_points(cam_T_lidar, points[:, :3])
    pixels, depth_m = project_to_image(calibration.image_P_cam, cam)
    inside = (pixels >= 0) & (pixels <= (width - 1, height - 1))
    return points[inside.all(1) & (depth_m > 0)]
