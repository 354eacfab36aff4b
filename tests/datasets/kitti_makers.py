"""A tiny KITTI folder for tests."""

from pathlib import Path

import numpy as np

from perception.core.structures import Calibration, Objects
from perception.datasets.kitti.files import (
    write_calib,
    write_image,
    write_objects,
    write_points,
)

FRAME_IDS = ("000000", "000001", "000002")
HEIGHT, WIDTH, DISPARITY_PX = 40, 120, 10
# 200 px * 0.5 m / 10 px
DEPTH_M = 10.0


def make_kitti(root: Path) -> Path:
    """Three frames with every file but depth; every pixel is ``DEPTH_M`` away."""
    rng = np.random.default_rng(0)
    base = root / "training"
    left_P = np.array([[200.0, 0, 60, 0], [0, 200, 20, 0], [0, 0, 1, 0]])
    right_P = left_P - np.array([[0, 0, 0, 100.0], [0] * 4, [0] * 4])
    calibration = Calibration(left_P, {"lidar": np.eye(4)}, right_P)
    size = (HEIGHT, WIDTH + DISPARITY_PX, 3)
    for frame_id in FRAME_IDS:
        world = rng.integers(0, 256, size, dtype=np.uint8)
        write_image(base / f"image_2/{frame_id}.png", world[:, :WIDTH])
        write_image(base / f"image_3/{frame_id}.png", world[:, DISPARITY_PX:])
        points = rng.random((5, 4)) * [1, 1, 0, 1] + [0, 0, DEPTH_M, 0]
        write_points(base / f"velodyne/{frame_id}.bin", points)
        write_calib(base / f"calib/{frame_id}.txt", calibration)
        objects = Objects.from_boxes(["Car"], [[1, 2, 30, 20]])
        write_objects(base / f"label_2/{frame_id}.txt", objects)
    (root / "ImageSets").mkdir()
    (root / "ImageSets/train.txt").write_text("000002\n000000\n")
    return root
