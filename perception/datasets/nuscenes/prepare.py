"""Work on a whole nuScenes folder: write its index, check its every file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perception.core.files import read_json, write_json
from perception.core.images import read_image
from perception.core.parallel import Bar, run_in_threads
from perception.core.structures import DataError
from perception.datasets.nuscenes.files import read_lidar, read_radar
from perception.datasets.nuscenes.index import (
    CHANNELS,
    SWEEPS,
    SceneIndex,
    about_tables,
    default_folder,
    load_scene,
    summary,
)
from perception.datasets.nuscenes.schema import checked_scene
from perception.datasets.nuscenes.tables import (
    Scene,
    describe_scene,
    names_of,
    open_tables,
)


def write_index(
    root: str | os.PathLike,
    version: str,
    folder: str | os.PathLike | None = None,
    *,
    jobs: int = 1,
) -> SceneIndex:
    """Describe every scene, look for its files, write the index.

    An interrupted run goes on where it stopped; a finished one starts afresh, since
    files may have come or gone.

    Args:
        root: nuScenes' folder.
        version: E.g. ``v1.0-mini``.
        folder: Where to write; default ``ROOT/index-<version>``.
        jobs: Threads: what takes time is asking the disk for files.

    Raises:
        DataError: If the tables are missing or broken, or the disk is full.
    """
    out = Path(folder or default_folder(root, version))
    tables = open_tables(root, version)
    about = about_tables(tables)
    head = {key: about[key] for key in ("format", "version", "tables", "channels")}

    resume = not (out / "index.json").exists()

    def describe(name: str) -> dict[str, Any]:
        path = out / "scenes" / f"{name}.json"
        scene = _finished(path, head) if resume else None
        if scene is None:
            scene = head | describe_scene(tables, name, CHANNELS, SWEEPS)
            write_json(path, scene)
        part: dict[str, Any] = summary({name: scene})
        return part

    names = names_of(tables)
    for part in run_in_threads(describe, names, jobs=jobs, bar=Bar("scenes", "scene")):
        for key, of_scene in part.items():
            about[key] = about.get(key, {}) | of_scene
    write_json(out / "index.json", about)
    load_scene.cache_clear()
    return SceneIndex.of_folder(out, root, version)


def check_files(index: SceneIndex, root: str | os.PathLike, jobs: int) -> list[str]:
    """Read every file of every scene; one line per file that cannot be used."""
    readers = {"CAM": read_image, "LID": read_lidar, "RAD": read_radar}

    def check(name: str) -> list[str]:
        problems = []
        files = {
            reading["file"]: readers[channel[:3]]
            for sample in index[name]["samples"]
            for channel, readings in sample["data"].items()
            for reading in readings
        }
        for file, read in files.items():
            try:
                read(Path(root) / file)
            except DataError as error:
                problems.append(str(error))
        return problems

    bar = Bar("reading", "scene")
    found = run_in_threads(check, list(index), jobs=jobs, bar=bar)
    return [problem for problems in found for problem in problems]


def describe_index(index: SceneIndex) -> list[str]:
    """Lines that tell how much there is, and what is missing."""
    samples = sum(index.samples.values())
    lines = [f"{index.where}: {len(index)} scenes, {samples} samples"]
    splits = [f"{name} ({len(scenes)})" for name, scenes in index.splits.items()]
    lines.append(f"splits (scenes): {', '.join(splits)}")
    entries: dict[str, list[str]] = {}
    for name, missing in index.missing.items():
        for number, channel, why in missing:
            entries.setdefault(channel, []).append(f"sample {number} of {name}: {why}")
    for channel, found in sorted(entries.items()):
        share = f"{len(found)} of {samples} samples"
        lines.append(f"{channel}: incomplete in {share}, first in {found[0]}")
    return lines if entries else [*lines, "all files are there"]


def _finished(path: Path, head: Mapping[str, Any]) -> Scene | None:
    """A scene's record of an interrupted run, if made from the same tables."""
    try:
        record = read_json(path)
        checked_scene(record, path)
    except DataError:
        return None
    return record if all(record.get(k) == v for k, v in head.items()) else None
