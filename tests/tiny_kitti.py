"""Frames of 64 x 32 pixels, in memory and as a KITTI folder, made in milliseconds."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from perception.core.structures import Calibration, Frame, Objects
from perception.datasets.kitti.files import (
    write_calib,
    write_depth,
    write_image,
    write_objects,
    write_points,
)
from perception.datasets.splits import write_split

SIZE = (32, 64)
CLASSES = ("Car", "Pedestrian", "Cyclist")
CALIBRATION = Calibration(
    image_P_cam=np.array([[40.0, 0, 31.5, 0], [0, 40, 15.5, 0], [0, 0, 1, 0]]),
    cam_T_sensor={
        "lidar": np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    },
    right_P_cam=np.array([[40.0, 0, 31.5, -20], [0, 40, 15.5, 0], [0, 0, 1, 0]]),
)


def points_at(columns_px: np.ndarray, rows_px: np.ndarray, depth_m: np.ndarray):
    """(P, 4) lidar points that project to these pixels; reflectance 0.5."""
    columns_px, rows_px, depth_m = np.broadcast_arrays(columns_px, rows_px, depth_m)
    left_m = -(columns_px - 31.5) * depth_m / 40
    up_m = -(rows_px - 15.5) * depth_m / 40
    table = np.stack([depth_m, left_m, up_m, np.full(depth_m.shape, 0.5)], axis=-1)
    return table.reshape(-1, 4).astype(np.float32)


def make_frame(index: int = 0) -> Frame:
    """A noisy frame with a car (bright and near in every sensor) and a pedestrian."""
    rng = np.random.default_rng(index)
    image = rng.integers(0, 80, (*SIZE, 3), dtype=np.uint8)
    depth_m = np.full(SIZE, 40, np.float32)
    boxes_px = np.array([[8.0, 3, 32, 30], [44, 2, 52, 30]])
    boxes_px[:, 0::2] += rng.integers(-6, 7)
    for (x1, y1, x2, y2), grey, near_m in zip(
        boxes_px.astype(int), (220, 150), (10, 15), strict=True
    ):
        image[y1:y2, x1:x2] = grey
        depth_m[y1:y2, x1:x2] = near_m
    rows, columns = np.mgrid[0 : SIZE[0] : 2, 0 : SIZE[1] : 2]
    sensors = {
        "camera": image,
        "lidar": points_at(columns, rows, depth_m[rows, columns]),
        "depth": depth_m,
    }
    names = np.array(["Car", "Pedestrian"], dtype=object)
    objects = replace(
        Objects.from_boxes(names, boxes_px),
        truncation=np.zeros(2),
        occlusion=np.zeros(2, dtype=np.int64),
    )
    return Frame(f"{index:06d}", sensors, CALIBRATION, SIZE, objects)


def write_kitti(root: Path, train: int = 4, val: int = 2) -> Path:
    """Write frames below ``root`` with the splits ``train`` and ``val``."""
    base = root / "training"
    for index in range(train + val):
        frame = make_frame(index)
        name = frame.frame_id
        write_image(base / "image_2" / f"{name}.png", frame.sensors["camera"])
        write_points(base / "velodyne" / f"{name}.bin", frame.sensors["lidar"])
        write_depth(base / "depth_2" / f"{name}.png", frame.sensors["depth"])
        write_calib(base / "calib" / f"{name}.txt", frame.calibration)
        write_objects(base / "label_2" / f"{name}.txt", frame.objects)
    names = [f"{index:06d}" for index in range(train + val)]
    write_split(root / "ImageSets" / "train.txt", names[:train])
    write_split(root / "ImageSets" / "val.txt", names[train:])
    return root


def write_config(path: Path, data_root: Path, base: Path) -> Path:
    """A config that trains ``base`` for two epochs on a folder of tiny frames."""
    path.write_text(
        f"""_base_ = {str(base)!r}
data_root = {str(data_root)!r}
resize = dict(type="ResizeFrame", size=(64, 32))
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        pipeline=[
            resize,
            dict(type="RandomAffineFrame", scale=(0.9, 1.2), shift=0.08),
            dict(type="RandomColour", sensor="camera"),
            dict(type="PackFrame"),
        ]
    ),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=[resize, dict(type="PackFrame")]),
)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2, val_interval=1)
"""
    )
    return path
