"""nuScenes' tables through the official devkit, as one plain record per scene.

A scene's record holds all that reading its frames takes: which files, from where
(calibration and ego pose) and when, and the annotated boxes. It is what the index
stores (``index``), so that a training need not load the devkit's tables.

    {"name", "token",
     "calibrations": {token: {"channel", "translation", "rotation", "intrinsic"}},
     "samples": [{"token", "time_us", "objects": [...],
                  "data": {channel: [the sample's own sweep, then earlier ones]}}],
     "missing": [[sample number, channel, why], ...]}
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perception.core.files import path_part, read_json
from perception.core.schema import checked
from perception.core.structures import DataError
from perception.datasets.nuscenes.schema import checked_scene
from perception.datasets.splits import listing

if TYPE_CHECKING:
    from nuscenes.nuscenes import NuScenes

TABLES = (
    *("attribute", "calibrated_sensor", "category", "ego_pose", "instance", "log"),
    *("map", "sample", "sample_annotation", "sample_data", "scene", "sensor"),
    "visibility",
)

Scene = dict[str, Any]

# Scenes of the mini set belong to official splits of the full set as well; to use
# them under those names would pass a few scenes off as the whole.
_SPLITS_OF_PART = {
    "mini": ("mini_train", "mini_val"),
    "test": ("test",),
    "trainval": ("train", "val", "train_detect", "train_track"),
}


def open_tables(root: str | os.PathLike, version: str) -> NuScenes:
    """Load a version's tables with the devkit.

    Raises:
        DataError: If there is no such version, or a table is missing or broken.
    """
    check_version(root, version)
    from nuscenes.nuscenes import NuScenes  # takes seconds to import

    folder = Path(root) / version
    try:
        return NuScenes(version, str(root), verbose=False)
    except json.JSONDecodeError as error:
        for name in TABLES:
            read_json(folder / f"{name}.json", what="a table")
        raise DataError(f"{folder}: a table is not JSON ({error})") from error
    except KeyError as error:
        raise DataError(
            f"{folder}: broken tables: {error} is referred to, but nowhere defined"
        ) from error
    except Exception as error:  # the devkit uses asserts and bare exceptions
        raise DataError(f"{folder}: the devkit refuses it: {error}") from error


def check_version(root: str | os.PathLike, version: str) -> None:
    """Raise DataError unless ``root`` holds all tables of a version."""
    root = Path(root)
    folder = root / version
    if not folder.is_dir():
        known = sorted(path.parent.name for path in root.glob("*/sample_data.json"))
        raise DataError(
            f"{folder}: no such nuScenes version; "
            + (f"{root} has {listing(known)}" if known else "expected ROOT/v1.0-mini/")
        )
    missing = [name for name in TABLES if not (folder / f"{name}.json").is_file()]
    if missing:
        raise DataError(f"{folder}: tables missing: {', '.join(missing)}")


def names_of(tables: NuScenes) -> list[str]:
    """Names of all scenes, sorted; each may become a file's name.

    Raises:
        DataError: If a scene has no name, or one that no file may have.
    """
    where = Path(tables.table_root) / "scene.json"
    try:
        return sorted(path_part(scene["name"], where) for scene in tables.scene)
    except (KeyError, TypeError) as error:
        raise DataError(f"{where}: a scene without name ({error!r})") from error


def splits_of(tables: NuScenes) -> dict[str, list[str]]:
    """Scenes of each split: the version's official ones and those of ``splits.json``.

    Raises:
        DataError: If ``splits.json`` is there, but not as the devkit wants it.
    """
    from nuscenes.utils.splits import create_splits_scenes

    official = create_splits_scenes()
    part = tables.version.rsplit("-", 1)[-1]
    splits = {name: official[name] for name in _SPLITS_OF_PART.get(part, official)}
    path = Path(tables.table_root) / "splits.json"
    if path.exists():
        own = read_json(path, what="splits")
        splits |= checked(dict[str, list[str]], own, path, what="splits")
    known = names_of(tables)
    splits["all"] = known
    present = {name: [s for s in splits[name] if s in known] for name in splits}
    return {name: scenes for name, scenes in present.items() if scenes}


def detection_names(tables: NuScenes) -> dict[str, str]:
    """Class of each category in nuScenes' detection task, for those that have one."""
    from nuscenes.eval.detection.utils import category_to_detection_name

    try:
        categories = [str(row["name"]) for row in tables.category]
    except (KeyError, TypeError) as error:
        where = Path(tables.table_root) / "category.json"
        raise DataError(f"{where}: a category without name ({error!r})") from error
    names = {name: category_to_detection_name(name) for name in categories}
    return {name: label for name, label in names.items() if label is not None}


def describe_scene(
    tables: NuScenes, name: str, channels: Iterable[str], sweeps: int
) -> Scene:
    """The record of scene ``name``, after looking whether its files are there.

    It describes the ``channels``, e.g. ``LIDAR_TOP``, with that many sweeps of each
    LiDAR and radar per sample, its own included.

    Raises:
        DataError: If a table refers to something that is not there.
    """
    where = f"{tables.table_root}: scene {name}"
    found = [scene for scene in tables.scene if scene["name"] == name]
    if not found:
        raise DataError(f"{tables.table_root}: no scene {name!r}")
    record: Scene = {"name": name, "token": found[0]["token"]}
    record |= {"calibrations": {}, "samples": [], "missing": []}
    try:
        token, seen = found[0]["first_sample_token"], set()
        while token:
            if token in seen:
                raise DataError(f"{where}: sample {token} comes after itself")
            seen.add(token)
            sample = tables.get("sample", token)
            _add_sample(record, tables, sample, list(channels), sweeps)
            token = sample["next"]
    except KeyError as error:
        raise DataError(
            f"{where}: {error} is referred to, but nowhere defined"
        ) from error
    except (TypeError, AttributeError, IndexError, OSError) as error:
        raise DataError(f"{where}: broken tables ({error!r})") from error
    checked_scene(record, where)
    return record


def _add_sample(
    record: Scene, tables: NuScenes, sample: dict, channels: list[str], sweeps: int
) -> None:
    """Append one sample to a scene's record."""
    data = {}
    for channel in channels:
        token = sample["data"].get(channel)
        if token is None:
            problem = "not in the tables"
        else:
            found, problem = _sweeps(record, tables, token, sweeps)
            if found:
                data[channel] = found
        if problem:
            record["missing"].append([len(record["samples"]), channel, problem])
    record["samples"].append(
        {
            "token": sample["token"],
            "time_us": sample["timestamp"],
            "objects": [_object(tables, token) for token in sample["anns"]],
            "data": data,
        }
    )


def _sweeps(
    record: Scene, tables: NuScenes, token: str, count: int
) -> tuple[list[dict], str]:
    """The sweep ``token`` and earlier ones; none if its own file is missing.

    Earlier sweeps without a file are left out. The second value says what is missing.
    """
    found: list[dict] = []
    absent: list[str] = []
    for age in range(count):
        row = tables.get("sample_data", token)
        path = Path(tables.dataroot) / row["filename"]
        if not path.is_file() or path.stat().st_size == 0:
            absent.append(row["filename"])
            if age == 0:
                break
        else:
            found.append(_sweep(record, tables, row))
        token = row["prev"]
        if not token or row["sensor_modality"] == "camera":
            break
    return found, f"no file {listing(absent, 2)}" if absent else ""


def _sweep(record: Scene, tables: NuScenes, row: dict) -> dict[str, Any]:
    """One sensor reading; its calibration goes to the scene's."""
    token = row["calibrated_sensor_token"]
    if token not in record["calibrations"]:
        mounted = tables.get("calibrated_sensor", token)
        record["calibrations"][token] = {
            "channel": row["channel"],
            "translation": mounted["translation"],
            "rotation": mounted["rotation"],
            "intrinsic": mounted["camera_intrinsic"],
        }
    pose = tables.get("ego_pose", row["ego_pose_token"])
    return {
        "file": row["filename"],
        "time_us": row["timestamp"],
        "calibration": token,
        "translation": pose["translation"],
        "rotation": pose["rotation"],
        "size": [row["height"], row["width"]],
    }


def _object(tables: NuScenes, token: str) -> dict[str, Any]:
    """One annotated box, in the global frame."""
    row = tables.get("sample_annotation", token)
    return {
        "category": row["category_name"],
        "translation": row["translation"],
        "size": row["size"],
        "rotation": row["rotation"],
        "visibility": row["visibility_token"],
        "points": row["num_lidar_pts"] + row["num_radar_pts"],
        "token": token,
    }
