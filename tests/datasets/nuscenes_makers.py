"""A tiny data set in nuScenes' own format: one scene, two samples, six sensors.

The vehicle drives along the global x axis at 10 m/s, starting at (100, 50); its frame
is turned by `YAW_DEG`. Half a second lies between the samples, with a sweep of LiDAR
and radar in between. Everything is hand-sized, so that tests can compute by hand.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from pyquaternion import Quaternion

from perception.datasets.nuscenes.tables import TABLES

VERSION = "v1.0-mini"
SCENE = "scene-0061"
SIZE = (90, 160)  # (H, W)
FX_PX = 126.0
YAW_DEG = 30.0
SPEED_MPS = 10.0
STEP_US = 250_000
# Camera axes in the vehicle's frame for a camera that looks ahead: x right, y down.
_AHEAD = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]])
_DTYPE = np.dtype(
    [
        *[(name, "<f4") for name in ("x", "y", "z")],
        *[("dyn_prop", "i1"), ("id", "<i2")],
        *[(name, "<f4") for name in ("rcs", "vx", "vy", "vx_comp", "vy_comp")],
        *[(name, "i1") for name in ("is_quality_valid", "ambig_state", "x_rms")],
        *[(name, "i1") for name in ("y_rms", "invalid_state", "pdh0")],
        *[(name, "i1") for name in ("vx_rms", "vy_rms")],
    ]
)
_FIELDS = list(_DTYPE.names or ())


def yaw(degrees: float) -> Quaternion:
    return Quaternion(axis=[0, 0, 1], degrees=degrees)


MOUNTED = {
    # channel: (place on the vehicle, rotation, metres off the time of the sample)
    "CAM_FRONT": ([1.7, 0.0, 1.5], Quaternion(matrix=_AHEAD), 0),
    "CAM_BACK": (
        [0.0, 0.0, 1.5],
        Quaternion(matrix=yaw(180).rotation_matrix @ _AHEAD),
        0,
    ),
    "LIDAR_TOP": ([0.9, 0.0, 1.8], yaw(-90), 50_000),
    "RADAR_FRONT": ([3.4, 0.0, 0.5], yaw(0), 20_000),
    "RADAR_FRONT_LEFT": ([2.4, 0.8, 0.5], yaw(90), 20_000),
    "RADAR_BACK_LEFT": ([-0.6, 0.6, 0.5], yaw(175), 20_000),
}
OTHER_RADARS = {
    "RADAR_FRONT_RIGHT": ([2.4, -0.8, 0.5], yaw(-90), 20_000),
    "RADAR_BACK_RIGHT": ([-0.6, -0.6, 0.5], yaw(-175), 20_000),
}
# Category, place in the global frame relative to the start, size (w, l, h), yaw in the
# global frame, visibility level, points. Relative to the vehicle the first lies 20 m
# ahead, the second is cut by the image's edge, the third stands behind the vehicle.
BOXES = [
    ("vehicle.car", (20.0, 0.0, 0.8), (2.0, 4.0, 1.6), 0.0, "4", 9),
    ("human.pedestrian.adult", (12.0, 5.5, 0.9), (0.6, 0.6, 1.8), 90.0, "2", 2),
    ("vehicle.truck", (-15.0, 1.0, 1.5), (2.5, 8.0, 3.0), 0.0, "3", 5),
    ("movable_object.trafficcone", (9.0, -1.0, 0.4), (0.4, 0.4, 0.8), 0.0, "1", 0),
    ("animal", (10.0, 1.0, 0.4), (0.4, 0.9, 0.8), 0.0, "4", 3),
]
TARGETS_M = np.array([[20.0, 0.0, 0.8], [12.0, 5.5, 0.9], [-15.0, 1.0, 1.5]])


def ego_pose(time_us: int) -> tuple[list[float], Quaternion]:
    """Place and rotation of the vehicle in the global frame."""
    ahead = yaw(YAW_DEG).rotate(np.array([SPEED_MPS * time_us * 1e-6, 0, 0]))
    return (np.array([100.0, 50.0, 0.0]) + ahead).tolist(), yaw(YAW_DEG)


def to_global(points: np.ndarray) -> np.ndarray:
    """From coordinates of the vehicle at time 0 to global ones."""
    return points @ yaw(YAW_DEG).rotation_matrix.T + [100.0, 50.0, 0.0]


def in_sensor(points_global: np.ndarray, channel: str, time_us: int) -> np.ndarray:
    """Global points as a sensor measures them at a moment."""
    place, rotation = ego_pose(time_us)
    mount, turned, _ = (MOUNTED | OTHER_RADARS)[channel]
    in_ego = (points_global - place) @ rotation.rotation_matrix
    return (in_ego - mount) @ turned.rotation_matrix


def write_lidar(path: Path, points: np.ndarray) -> None:
    """(P, 3) points, intensity 51, ring 7."""
    rest = np.tile([51.0, 7.0], (len(points), 1))
    np.concatenate([points, rest], axis=1).astype("<f4").tofile(path)


def write_radar(path: Path, points: np.ndarray, **columns: np.ndarray) -> None:
    """(P, 3) points and any of the other fields; the devkit's way of being empty."""
    empty = len(points) == 0
    table = np.zeros(max(len(points), 1), dtype=_DTYPE)
    table["x"], table["y"] = (np.nan, np.nan) if empty else points[:, :2].T
    table["ambig_state"] = 3
    for name, values in columns.items():
        table[name] = values
    kinds = [_DTYPE[name] for name in _FIELDS]
    head = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        "FIELDS " + " ".join(_FIELDS),
        "SIZE " + " ".join(str(kind.itemsize) for kind in kinds),
        "TYPE " + " ".join("F" if kind.kind == "f" else "I" for kind in kinds),
        "COUNT " + " ".join("1" for _ in kinds),
        f"WIDTH {len(table)}",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(table)}",
        "DATA binary",
    ]
    # The devkit wants at least one byte behind the last point.
    data = "\n".join(head).encode() + b"\n" + table.tobytes() + b"\n"
    path.write_bytes(data)


class Maker:
    """Collects tables and writes files."""

    def __init__(self, root: Path, radars: bool) -> None:
        self.root = root
        self.mounted = MOUNTED | (OTHER_RADARS if radars else {})
        self.tables: dict[str, list[dict]] = {name: [] for name in TABLES}

    def add(self, table: str, token: str, **columns) -> str:
        self.tables[table].append({"token": token, **columns})
        return token

    def write(self) -> Path:
        folder = self.root / VERSION
        folder.mkdir(parents=True)
        for name, rows in self.tables.items():
            (folder / f"{name}.json").write_text(json.dumps(rows))
        return self.root


def _measured(channel: str, time_us: int) -> np.ndarray:
    return in_sensor(to_global(TARGETS_M), channel, time_us)


def _file(root: Path, channel: str, time_us: int, key: bool) -> str:
    suffix = {"C": ".jpg", "L": ".pcd.bin", "R": ".pcd"}[channel[0]]
    name = f"{'samples' if key else 'sweeps'}/{channel}/n__{channel}__{time_us}{suffix}"
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if channel[0] == "C":
        image = np.full((*SIZE, 3), (time_us // STEP_US * 40) % 255, dtype=np.uint8)
        cv2.imwrite(str(path), image)
    elif channel[0] == "L":
        write_lidar(path, _measured(channel, time_us))
    else:
        points = _measured(channel, time_us)
        along = points[:, :2] / np.linalg.norm(points[:, :2], axis=1, keepdims=True)
        write_radar(
            path,
            points,
            rcs=np.array([10.0, -5.0, 15.0]),
            vx_comp=along[:, 0] * 3,
            vy_comp=along[:, 1] * 3,
        )
    return name


def _add_readings(maker: Maker, channel: str, off_us: int) -> None:
    """A sensor's readings: samples at 0 and 2 steps, for points a sweep at 1, too."""
    steps = (0, 2) if channel[0] == "C" else (0, 1, 2)
    times = [step * STEP_US + off_us for step in steps]
    tokens = [f"{channel}-{time_us}" for time_us in times]
    for i, (step, time_us, token) in enumerate(zip(steps, times, tokens, strict=True)):
        place, rotation = ego_pose(time_us)
        pose = maker.add(
            "ego_pose",
            f"pose-{token}",
            timestamp=time_us,
            translation=place,
            rotation=rotation.elements.tolist(),
        )
        height, width = SIZE if channel[0] == "C" else (0, 0)
        maker.add(
            "sample_data",
            token,
            sample_token=f"sample-{min(step, 1)}" if step != 1 else "sample-0",
            ego_pose_token=pose,
            calibrated_sensor_token=f"calibrated-{channel}",
            timestamp=time_us,
            fileformat="jpg" if channel[0] == "C" else "pcd",
            is_key_frame=step != 1,
            height=height,
            width=width,
            filename=_file(maker.root, channel, time_us, step != 1),
            prev=tokens[i - 1] if i else "",
            next=tokens[i + 1] if i + 1 < len(tokens) else "",
        )


def make_nuscenes(root: Path, *, radars: bool = True) -> Path:
    """Write the data set; without `radars` only those that MOUNTED has."""
    maker = Maker(root, radars)
    for level in "1234":
        maker.add("visibility", level, level=level, description="")
    maker.add("log", "log", logfile="l", vehicle="v", date_captured="d", location="x")
    (root / "maps").mkdir(parents=True)
    cv2.imwrite(str(root / "maps/map.png"), np.zeros((4, 4), np.uint8))
    where = {"category": "semantic_prior", "filename": "maps/map.png"}
    maker.add("map", "map", log_tokens=["log"], **where)
    samples = ["sample-0", "sample-1"]
    ends = {"first_sample_token": samples[0], "last_sample_token": samples[1]}
    maker.add(
        "scene",
        "scene",
        name=SCENE,
        description="",
        log_token="log",
        nbr_samples=2,
        **ends,
    )
    for i, token in enumerate(samples):
        links = {"prev": ["", samples[0]][i], "next": [samples[1], ""][i]}
        time_us = 2 * i * STEP_US
        maker.add("sample", token, timestamp=time_us, scene_token="scene", **links)
    for channel, (mount, rotation, off_us) in maker.mounted.items():
        modality = {"C": "camera", "L": "lidar", "R": "radar"}[channel[0]]
        maker.add("sensor", channel, channel=channel, modality=modality)
        height, width = SIZE
        intrinsic = [[FX_PX, 0, width / 2], [0, FX_PX, height / 2], [0, 0, 1]]
        maker.add(
            "calibrated_sensor",
            f"calibrated-{channel}",
            sensor_token=channel,
            translation=mount,
            rotation=rotation.elements.tolist(),
            camera_intrinsic=intrinsic if channel[0] == "C" else [],
        )
        _add_readings(maker, channel, off_us)
    _add_boxes(maker, samples)
    return maker.write()


def _add_boxes(maker: Maker, samples: list[str]) -> None:
    for i, (category, place, size, turned, visibility, points) in enumerate(BOXES):
        maker.add("category", category, name=category, description="")
        tokens = [f"box-{i}-{sample}" for sample in samples]
        maker.add(
            "instance",
            f"instance-{i}",
            category_token=category,
            nbr_annotations=len(samples),
            first_annotation_token=tokens[0],
            last_annotation_token=tokens[-1],
        )
        for j, token in enumerate(tokens):
            maker.add(
                "sample_annotation",
                token,
                sample_token=samples[j],
                instance_token=f"instance-{i}",
                visibility_token=visibility,
                attribute_tokens=[],
                translation=to_global(np.array(place)).tolist(),
                size=list(size),
                rotation=(yaw(turned) * yaw(YAW_DEG)).elements.tolist(),
                prev=tokens[j - 1] if j else "",
                next=tokens[j + 1] if j + 1 < len(tokens) else "",
                num_lidar_pts=points,
                num_radar_pts=0,
            )
