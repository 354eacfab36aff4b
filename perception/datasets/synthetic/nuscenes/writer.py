"""Write synthetic scenes as a nuScenes v1.0 data set, in parallel and resumably."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from perception.core.files import claim, path_within, read_json, write_bytes, write_json
from perception.core.images import write_image
from perception.core.shards import Shard, at_work
from perception.core.structures import DataError
from perception.datasets.synthetic.generate import (
    RECIPE,
    check_at_least,
    make_missing,
    parse_size,
    take_parts,
)
from perception.datasets.synthetic.nuscenes import rig, tables
from perception.datasets.synthetic.nuscenes.radar import radar_pcd
from perception.datasets.synthetic.nuscenes.sensing import Annotation, Station, to_world
from perception.datasets.synthetic.nuscenes.tables import SCENE_TABLES, Record, token
from perception.datasets.synthetic.nuscenes.traffic import random_sequence
from perception.datasets.synthetic.world.street import BACK_M, FAR_M, Layout

# The development kit's splits, training then validation, of each version.
SPLITS = {"v1.0-mini": ("mini_train", "mini_val"), "v1.0-trainval": ("train", "val")}
# A scene's records wait here until all scenes are there.
PARTS = "scene_records"
GENERATOR_VERSION = 1
SAMPLE_PERIOD_US, SWEEP_PERIOD_US = 500_000, 75_000
_EPOCH_US = 1_532_402_927_000_000
# Between the starts of two scenes: scenes never overlap in time.
_SCENE_PERIOD_US = 3_600_000_000
_ROAD_MIDDLE_M = 45.0
_SUFFIXES = {"camera": "jpg", "lidar": "pcd.bin", "radar": "pcd"}
# Of the map masks; the development kit reads them at this resolution.
MAP_SIDE_M, MAP_PIXELS_PER_M = 240.0, 10


@dataclass(frozen=True)
class Recipe:
    """What determines every scene's content.

    Attributes:
        version: Of the data set, e.g. ``v1.0-mini``.
        seed: Seed of the set; a scene draws from it and its name alone.
        width: Image width in pixels.
        height: Image height in pixels.
        samples: Key frames per scene.
        lidar_sweeps: LiDAR sweeps before each key frame.
        radar_sweeps: Radar sweeps before each key frame.
        generator: Version of the generator.
    """

    version: str
    seed: int
    width: int
    height: int
    samples: int
    lidar_sweeps: int = 1
    radar_sweeps: int = 2
    generator: int = GENERATOR_VERSION


def scene_names(version: str, scenes: int, val_scenes: int) -> list[str]:
    """Names of scenes which the development kit's splits know, training first.

    Raises:
        DataError: If the version is unknown or has not that many scenes.
    """
    from nuscenes.utils.splits import create_splits_scenes

    if version not in SPLITS:
        known = " or ".join(SPLITS)
        raise DataError(f"version must be {known}, got {version!r}")
    known_scenes, names = create_splits_scenes(), []
    for split, count in zip(SPLITS[version], (scenes, val_scenes), strict=True):
        known_names = known_scenes[split]
        if not 0 <= count <= len(known_names):
            raise DataError(
                f"{version} has 0 to {len(known_names)} scenes in {split}, got {count}"
            )
        names += known_names[:count]
    if not names:
        raise DataError("asked for no scene at all")
    return names


def generate_nuscenes(
    out: str | os.PathLike,
    *,
    scenes: int,
    val_scenes: int = 0,
    samples: int = 10,
    seed: int = 0,
    size: str = "480x270",
    jobs: int = 1,
    version: str = "v1.0-trainval",
    progress: bool = True,
    shard: Shard | None = None,
    merge: Sequence[str] = (),
) -> Path:
    """Make a synthetic nuScenes data set; scenes that are complete are kept.

    Args:
        out: Folder to fill, nuScenes' ``dataroot`` afterwards; it is returned.
        scenes: Number of scenes of the training split.
        val_scenes: Number of scenes of the validation split.
        samples: Key frames per scene, two per second.
        seed: The same seed gives the same files, whatever ``jobs``.
        size: Image size as ``WIDTHxHEIGHT`` in pixels.
        jobs: Number of worker processes, each using one core.
        version: A key of ``SPLITS``.
        progress: Whether to show a progress bar.
        shard: Make only every n-th scene; whoever makes the last one writes the tables.
        merge: Folders of other machines' shards: their scenes are taken first.

    Raises:
        DataError: If an argument is out of range, a folder holds another data set,
            or a file cannot be written.
    """
    check_at_least(1, samples=samples)
    check_at_least(0, seed=seed)
    check_at_least(1, jobs=jobs)
    names = scene_names(version, scenes, val_scenes)
    root, recipe = Path(out), Recipe(version, seed, *parse_size(size), samples)
    with at_work(root, "making data", shard):
        claim(root / RECIPE, asdict(recipe), taken=version)
        take_parts(root, merge, partial(_files_to_take, names=names))
        make_missing(
            partial(write_scene, root, recipe),
            names,
            partial(_complete, root),
            root=root,
            shard=shard,
            jobs=jobs,
            unit="scene",
            progress=progress,
        )
        if all(_complete(root, name) for name in names):  # else other shards go on
            _write_tables(root, version, names)
    return root


def _complete(root: Path, name: str) -> bool:
    return part_path(root, name).exists()


def _files_to_take(other: Path, root: Path, names: Sequence[str]) -> Iterator[Path]:
    """Of the scenes that are complete in another folder and not in this one."""
    for name in names:
        if _complete(other, name) and not _complete(root, name):
            part = read_json(part_path(other, name), what="the records of a scene")
            for table in ("sample_data", "map"):
                for record in part[table]:
                    where = part_path(other, name)
                    yield Path(path_within(record["filename"], where))
            yield part_path(Path(), name)


def part_path(root: Path, name: str) -> Path:
    """Where a finished scene keeps its records."""
    return root / PARTS / f"{name}.json"


def write_scene(root: Path, recipe: Recipe, name: str) -> None:
    """Make scene ``name``; its records are written last, when it is complete."""
    records = SceneWriter(root, recipe, name).write()
    write_json(part_path(root, name), records, indent=None)


def _write_tables(root: Path, version: str, names: Sequence[str]) -> None:
    """Put the scenes' records together."""
    whole: dict[str, list[Record]] = tables.static_tables()
    whole |= {table: [] for table in SCENE_TABLES}
    for name in names:
        path = part_path(root, name)
        try:
            part = read_json(path, what="the records of a scene")
            for table in SCENE_TABLES:
                whole[table] += part[table]
        except (DataError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: not the records of a scene ({error}); remove it and run again"
            ) from error
    for table, records in whole.items():
        write_json(root / version / f"{table}.json", records)


class SceneWriter:
    """Writes one scene's files and collects its records.

    Attributes:
        tables: The records so far, by table.
    """

    def __init__(self, root: Path, recipe: Recipe, name: str) -> None:
        """Draw the scene ``name`` of the set at ``root``."""
        self._root, self._recipe, self._name = root, recipe, name
        self._key = f"{recipe.seed}/{recipe.version}/{name}"
        self._log = f"synthetic-{recipe.seed}-{name}"
        self._seed = (recipe.seed, zlib.crc32(name.encode()))
        rng = np.random.default_rng(self._seed)
        duration_s = (recipe.samples - 1) * SAMPLE_PERIOD_US * 1e-6
        self._sequence = random_sequence(rng, duration_s)
        self._heading = float(rng.uniform(-np.pi, np.pi))
        middle = rig.planar_pose(0, 0, self._heading)[:2, 0] * _ROAD_MIDDLE_M
        x, y = MAP_SIDE_M / 2 - middle
        self._global_T_world = rig.planar_pose(float(x), float(y), self._heading)
        number = int(name.rsplit("-", 1)[-1])
        self._start_us = _EPOCH_US + number * _SCENE_PERIOD_US
        self.tables: dict[str, list[Record]] = {name: [] for name in SCENE_TABLES}

    def write(self) -> dict[str, list[Record]]:
        """Write all files; returns the scene's records by table.

        Raises:
            DataError: If a file cannot be written.
        """
        cv2.setNumThreads(1)
        recipe = self._recipe
        self.tables["calibrated_sensor"] = [
            tables.calibrated_sensor(self._key, sensor, recipe.width, recipe.height)
            for sensor in rig.SENSORS
        ]
        for index in range(recipe.samples):
            self._write_sweeps(index)
            self._write_key_frame(index)
        tables.link(self.tables["sample"])
        for records in tables.grouped(
            self.tables["sample_data"], "calibrated_sensor_token"
        ):
            tables.link(sorted(records, key=lambda record: record["timestamp"]))
        self._add_instances()
        self._add_scene()
        return self.tables

    def _write_sweeps(self, index: int) -> None:
        """The sweeps before a key frame, which belong to it."""
        recipe, sample = self._recipe, self._sample_token(index)
        for step in range(max(recipe.lidar_sweeps, recipe.radar_sweeps), 0, -1):
            sweep_us = index * SAMPLE_PERIOD_US - step * SWEEP_PERIOD_US
            station = Station(self._sequence, sweep_us * 1e-6)
            rng = np.random.default_rng((*self._seed, index, step))
            if step <= recipe.lidar_sweeps:
                data = station.lidar(rng, rig.LIDAR)
                self._save(sample, sweep_us, rig.LIDAR, data, key=False)
            if step <= recipe.radar_sweeps:
                for radar in rig.RADARS:
                    data = station.radar(rng, radar)
                    self._save(sample, sweep_us, radar, data, key=False)

    def _write_key_frame(self, index: int) -> None:
        """A key frame of all sensors, and its annotations."""
        key_us, sample = index * SAMPLE_PERIOD_US, self._sample_token(index)
        rng = np.random.default_rng((*self._seed, index, 0))
        station = Station(self._sequence, key_us * 1e-6)
        photos = []
        for camera in rig.CAMERAS:
            size = self._recipe.width, self._recipe.height
            photos.append(station.photograph(rng, camera, *size))
            self._save(sample, key_us, camera, photos[-1].rgb)
        lidar = station.lidar(rng, rig.LIDAR)
        self._save(sample, key_us, rig.LIDAR, lidar)
        returns = []
        for radar in rig.RADARS:
            data = station.radar(rng, radar)
            self._save(sample, key_us, radar, data)
            places = np.stack([data["x"], data["y"], data["z"]], 1)
            returns.append(to_world(station.world_pose(radar), places))
        scene, start = token(self._key, "scene"), self._start_us + key_us
        self._add("sample", token=sample, timestamp=start, scene_token=scene)
        points = to_world(station.world_pose(rig.LIDAR), lidar)
        for made in station.annotate(photos, points, np.concatenate(returns)):
            self._add_annotation(sample, made)

    def _add(self, table: str, **record: object) -> None:
        self.tables[table].append(record)

    def _sample_token(self, index: int) -> str:
        return token(self._key, "sample", index)

    def _save(
        self, sample: str, at_us: int, sensor: rig.Sensor, data: np.ndarray, key=True
    ) -> None:
        """Write a reading, with its sample_data and ego_pose."""
        time_us = at_us + sensor.delay_us
        stamp, channel = self._start_us + time_us, sensor.channel
        folder, suffix = "samples" if key else "sweeps", _SUFFIXES[sensor.modality]
        name = f"{folder}/{channel}/{self._log}__{channel}__{stamp}.{suffix}"
        write_sample_file(self._root / name, sensor.modality, data)
        record = tables.sample_data(self._key, sample, channel, stamp, name, key)
        if sensor.modality == "camera":
            record["height"], record["width"] = data.shape[:2]
        self.tables["sample_data"].append(record)
        x, y, yaw = self._sequence.ego.place(time_us * 1e-6)
        self._add(
            "ego_pose",
            token=record["ego_pose_token"],
            timestamp=stamp,
            rotation=list(rig.yaw_quaternion(yaw + self._heading)),
            translation=self._to_global(np.array([x, y, 0.0])),
        )

    def _to_global(self, world_m: np.ndarray) -> list[float]:
        pose = self._global_T_world
        return (pose[:3, :3] @ world_m + pose[:3, 3]).tolist()

    def _add_annotation(self, sample: str, made: Annotation) -> None:
        mover = self._sequence.movers[made.mover]
        height, width, length = mover.actor.size_m
        centre = made.base_m + [0, 0, height / 2]
        self._add(
            "sample_annotation",
            token=token(sample, "annotation", made.mover),
            sample_token=sample,
            instance_token=token(self._key, "instance", made.mover),
            visibility_token=tables.visibility_token(made.visible),
            attribute_tokens=[token("attribute", tables.attribute_of(mover))],
            translation=self._to_global(centre),
            size=[width, length, height],
            rotation=list(rig.yaw_quaternion(mover.actor.yaw + self._heading)),
            num_lidar_pts=made.lidar_points,
            num_radar_pts=made.radar_points,
        )

    def _add_instances(self) -> None:
        """Chain each road user's annotations."""
        category = {
            token(self._key, "instance", index): tables.category_of(mover)
            for index, mover in enumerate(self._sequence.movers)
        }
        chains = tables.grouped(self.tables["sample_annotation"], "instance_token")
        for chain in chains:
            tables.link(chain)
        self.tables["instance"] = [
            tables.instance(chain, category[chain[0]["instance_token"]])
            for chain in chains
        ]

    def _add_scene(self) -> None:
        """The scene, its log and its map."""
        kind, samples = self._sequence.lighting.kind, self.tables["sample"]
        drive = tables.scene_records(self._key, self._name, self._log, kind, samples)
        for table, record in drive.items():
            self._add(table, **record)
        path = self._root / drive["map"]["filename"]
        write_map_mask(path, self._sequence.layout, self._global_T_world)


def write_sample_file(path: Path, modality: str, data: np.ndarray) -> None:
    """Write an (H, W, 3) picture, (P, 5) LiDAR points or (P,) radar returns.

    Raises:
        DataError: If the file cannot be written.
    """
    if modality == "camera":
        write_image(path, data)
        return
    content = data.astype("<f4").tobytes() if modality == "lidar" else radar_pcd(data)
    write_bytes(path, content)


def write_map_mask(path: Path, layout: Layout, global_T_world: np.ndarray) -> None:
    """Draw roads and sidewalks white on black, 0.1 m to the pixel, y upwards."""
    right, left = layout.kerbs_m
    areas = [(BACK_M, FAR_M, right - layout.sidewalk_m, left + layout.sidewalk_m)]
    if layout.junction_m is not None:
        areas.append((*layout.junction_m, -80.0, 80.0))
    side = round(MAP_SIDE_M * MAP_PIXELS_PER_M)
    mask = np.zeros((side, side), np.uint8)
    for x0, x1, y0, y1 in areas:
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        place = corners @ global_T_world[:2, :2].T + global_T_world[:2, 3]
        pixels = place * [MAP_PIXELS_PER_M, -MAP_PIXELS_PER_M] + [0, side]
        cv2.fillConvexPoly(mask, np.round(pixels).astype(np.int32), (255,))
    write_bytes(path, cv2.imencode(".png", mask)[1].tobytes())
