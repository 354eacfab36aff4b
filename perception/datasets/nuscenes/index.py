"""An index of nuScenes in JSON: what its frames consist of, and what is missing.

    folder/index.json          format, version, tables, channels; missing files by scene
    folder/scenes/<name>.json  one record per scene, see ``tables``

The devkit loads all tables of a data set into every process; a reader of the index
loads only the scenes that it needs. ``prepare`` writes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perception.core.files import read_json
from perception.core.structures import DataError
from perception.datasets.nuscenes.schema import checked_index, checked_scene
from perception.datasets.nuscenes.tables import (
    TABLES,
    Scene,
    check_version,
    describe_scene,
    detection_names,
    names_of,
    open_tables,
    splits_of,
)

if TYPE_CHECKING:
    from nuscenes.nuscenes import NuScenes

FORMAT = 1
SWEEPS = 10
CAMERAS = (
    *("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT"),
    *("CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT"),
)
LIDARS = ("LIDAR_TOP",)
RADARS = (
    *("RADAR_FRONT", "RADAR_FRONT_LEFT", "RADAR_FRONT_RIGHT"),
    *("RADAR_BACK_LEFT", "RADAR_BACK_RIGHT"),
)
CHANNELS = (*CAMERAS, *LIDARS, *RADARS)

Missing = tuple[int, str, str]


class SceneIndex(Mapping[str, Scene]):
    """The records of all scenes by name, loaded when asked for.

    Attributes:
        missing: For each scene (sample number, channel, what is missing) of every
            sensor reading that the tables or the disk lack.
        samples: Number of samples of each scene.
        splits: Names of the scenes of each split.
        names: Class of each category that nuScenes' detection task knows.
        sweeps: Sweeps of each LiDAR and radar per sample, the sample's own included.
        where: What to call it in an error.
    """

    def __init__(
        self, load: Callable[[str], Scene], about: Mapping[str, Any], where: str
    ) -> None:
        self._load, self.where = load, where
        self.missing: Mapping[str, Sequence[Missing]] = about["missing"]
        self.samples: Mapping[str, int] = about["samples"]
        self.splits: Mapping[str, Sequence[str]] = about["splits"]
        self.names: Mapping[str, str] = about["names"]
        self.sweeps: int = about["sweeps"]

    def __getitem__(self, name: str) -> Scene:
        scene = self._load(name)
        count = len(scene["samples"])
        if count != self.samples[name]:
            raise DataError(
                f"{self.where}: scene {name} has {count} samples, not "
                f"{self.samples[name]}; make the index again"
            )
        return scene

    def __iter__(self) -> Iterator[str]:
        return iter(self.missing)

    def __len__(self) -> int:
        return len(self.missing)

    @classmethod
    def of_tables(cls, root: str | os.PathLike, version: str) -> SceneIndex:
        """All scenes in memory, described by the devkit."""
        tables = open_tables(root, version)
        names = names_of(tables)
        scenes = {n: describe_scene(tables, n, CHANNELS, SWEEPS) for n in names}
        about = about_tables(tables) | summary(scenes)
        about = checked_index(about, tables.table_root)
        return cls(scenes.__getitem__, about, tables.table_root)

    @classmethod
    def of_folder(
        cls, folder: str | os.PathLike, root: str | os.PathLike, version: str
    ) -> SceneIndex:
        """What ``prepare.write_index`` wrote.

        Raises:
            DataError: If it is damaged, or made from other tables or by another
                version of this program.
        """
        path = Path(folder) / "index.json"
        index = read_json(path, what="an index")
        again = "make it again with tools/create_data.py nuscenes"
        if not isinstance(index, dict) or index.get("format") != FORMAT:
            raise DataError(f"{path}: not an index of format {FORMAT}; {again}")
        index = checked_index(index, path)
        if index["version"] != version:
            raise DataError(f"{path}: made from {index['version']}, not {version}")
        if index["tables"] != _table_sizes(root, version):
            raise DataError(f"{path}: the tables in {root} have changed; {again}")
        # A partial function, so that data loaders can send it to workers.
        return cls(partial(load_scene, Path(folder)), index, str(path))


def default_folder(root: str | os.PathLike, version: str) -> Path:
    """Where the index of a version lies unless told otherwise."""
    return Path(root) / f"index-{version}"


def open_index(
    root: str | os.PathLike, version: str, folder: str | os.PathLike | None = None
) -> SceneIndex:
    """The index in ``folder`` or at its usual place; without one, the tables.

    Raises:
        DataError: If the version, its tables or the named index cannot be used.
    """
    check_version(root, version)
    usual = default_folder(root, version)
    if folder is None and not (usual / "index.json").exists():
        return SceneIndex.of_tables(root, version)
    return SceneIndex.of_folder(folder or usual, root, version)


@lru_cache(maxsize=64)
def load_scene(folder: Path, name: str) -> Scene:
    """One scene's record of an index."""
    path = folder / "scenes" / f"{name}.json"
    return checked_scene(read_json(path, what="a scene of the index"), path)


def about_tables(tables: NuScenes) -> dict[str, Any]:
    """What the index says beside the scenes."""
    return {
        "format": FORMAT,
        "version": tables.version,
        "tables": _table_sizes(tables.dataroot, tables.version),
        "channels": list(CHANNELS),
        "sweeps": SWEEPS,
        "splits": splits_of(tables),
        "names": detection_names(tables),
    }


def summary(scenes: Mapping[str, Scene]) -> dict[str, Any]:
    """What must be known of each scene without loading it."""
    return {
        "missing": {name: scene["missing"] for name, scene in scenes.items()},
        "samples": {name: len(scene["samples"]) for name, scene in scenes.items()},
    }


def _table_sizes(root: str | os.PathLike, version: str) -> dict[str, int]:
    """Bytes of each table: cheap to look up, and another edition's differ."""
    folder = Path(root) / version
    paths = [folder / f"{name}.json" for name in (*TABLES, "splits")]
    return {path.stem: path.stat().st_size for path in paths if path.is_file()}
