"""Write synthetic scenes as a nuScenes v1.0 data set, in parallel and resumably."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from perception.core.files import claim, read_json, replacing, write_json
from perception.core.structures import DataError
from perception.datasets.synthetic.kitti import (
    check_at_least,
    make_missing,
    parse_size,
)
from perception.datasets.synthetic.nuscenes.scene import Recipe, SceneWriter
from perception.datasets.synthetic.nuscenes.tables import (
    SCENE_TABLES,
    Record,
    static_tables,
)

# The development kit's splits, training then validation, of each version.
SPLITS = {"v1.0-mini": ("mini_train", "mini_val"), "v1.0-trainval": ("train", "val")}
# A scene's records wait here until all scenes are there.
PARTS = "scene_records"


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
) -> Path:
    """Make a synthetic nuScenes data set; scenes that are complete are kept.

    Args:
        out: Folder to fill, nuScenes' ``dataroot`` afterwards.
        scenes: Number of scenes of the training split.
        val_scenes: Number of scenes of the validation split.
        samples: Key frames per scene, two per second.
        seed: The same seed gives the same files, whatever ``jobs``.
        size: Image size as ``WIDTHxHEIGHT`` in pixels.
        jobs: Number of worker processes, each using one core.
        version: A key of ``SPLITS``.
        progress: Whether to show a progress bar.

    Returns:
        The folder.

    Raises:
        DataError: If an argument is out of range, the folder holds another data set,
            or a file cannot be written.
    """
    check_at_least(1, samples=samples)
    check_at_least(0, seed=seed)
    check_at_least(1, jobs=jobs)
    names = scene_names(version, scenes, val_scenes)
    root, recipe = Path(out), Recipe(version, seed, *parse_size(size), samples)
    claim(root / "synthetic.json", asdict(recipe), taken=version)
    make_missing(
        partial(write_scene, root, recipe),
        [name for name in names if not part_path(root, name).exists()],
        total=len(names),
        jobs=jobs,
        unit="scene",
        progress=progress,
    )
    _write_tables(root, version, names)
    return root


def part_path(root: Path, name: str) -> Path:
    """Where a finished scene keeps its records."""
    return root / PARTS / f"{name}.json"


def write_scene(root: Path, recipe: Recipe, name: str) -> None:
    """Make scene ``name``; its records are written last, when it is complete.

    Raises:
        DataError: If a file cannot be written.
    """
    tables = SceneWriter(root, recipe, name).write()
    with replacing(part_path(root, name)) as temporary:
        temporary.write_text(json.dumps(tables), encoding="utf-8")


def _write_tables(root: Path, version: str, names: Sequence[str]) -> None:
    """Put the scenes' records together."""
    tables: dict[str, list[Record]] = static_tables()
    tables |= {table: [] for table in SCENE_TABLES}
    for name in names:
        path = part_path(root, name)
        try:
            part = read_json(path, what="the records of a scene")
            for table in SCENE_TABLES:
                tables[table] += part[table]
        except (DataError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: not the records of a scene ({error}); remove it and run again"
            ) from error
    for table, records in tables.items():
        write_json(root / version / f"{table}.json", records)
