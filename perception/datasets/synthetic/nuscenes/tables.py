"""The records of nuScenes' thirteen tables (schema v1.0).

Tokens are hashes of names, so that they do not depend on the order of the work.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from perception.datasets.synthetic.nuscenes.rig import SENSORS, Sensor
from perception.datasets.synthetic.nuscenes.traffic import Mover

Record = dict[str, Any]
# Tables that are the same in every set, and those that each scene adds to.
STATIC_TABLES = ("category", "attribute", "visibility", "sensor")
SCENE_TABLES = (
    "scene",
    "log",
    "map",
    "sample",
    "sample_data",
    "ego_pose",
    "calibrated_sensor",
    "instance",
    "sample_annotation",
)
CATEGORIES = (
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.wheelchair",
    "human.pedestrian.stroller",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.construction_worker",
    "animal",
    "vehicle.car",
    "vehicle.motorcycle",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.truck",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.trailer",
    "movable_object.barrier",
    "movable_object.trafficcone",
    "movable_object.pushable_pullable",
    "movable_object.debris",
    "static_object.bicycle_rack",
)
ATTRIBUTES = (
    "vehicle.moving",
    "vehicle.stopped",
    "vehicle.parked",
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "pedestrian.moving",
)
# Upper ends of the visible share, and nuScenes' names; tokens are 1, 2, 3, 4.
VISIBILITIES = ((0.4, "v0-40"), (0.6, "v40-60"), (0.8, "v60-80"), (1.0, "v80-100"))
CHILD_HEIGHT_M = 1.4


def token(*parts: object) -> str:
    """32 hexadecimal digits that name something for good."""
    text = "/".join(str(part) for part in parts)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def static_tables() -> dict[str, list[Record]]:
    """The tables that do not depend on the scenes."""
    return {
        "category": [_named("category", name) for name in CATEGORIES],
        "attribute": [_named("attribute", name) for name in ATTRIBUTES],
        "visibility": [
            {
                "token": str(index + 1),
                "level": level,
                "description": f"visible share of at most {share:.0%} over all images",
            }
            for index, (share, level) in enumerate(VISIBILITIES)
        ],
        "sensor": [
            {
                "token": token("sensor", sensor.channel),
                "channel": sensor.channel,
                "modality": sensor.modality,
            }
            for sensor in SENSORS
        ],
    }


def _named(table: str, name: str) -> Record:
    return {"token": token(table, name), "name": name, "description": "synthetic"}


def visibility_token(visible: float) -> str:
    """The token of the level that holds a visible share, 0 … 1."""
    return str(1 + sum(visible > share for share, _ in VISIBILITIES[:-1]))


def category_of(mover: Mover) -> str:
    """The category that nuScenes gives a road user; vans are cars there."""
    name = mover.actor.name
    if name == "Pedestrian":
        small = mover.actor.size_m[0] < CHILD_HEIGHT_M
        return "human.pedestrian.child" if small else "human.pedestrian.adult"
    return "vehicle.bicycle" if name == "Cyclist" else "vehicle.car"


def attribute_of(mover: Mover) -> str:
    """The attribute that nuScenes gives a road user."""
    moving = any(mover.velocity_mps)
    category = category_of(mover)
    if category == "vehicle.bicycle":
        return "cycle.with_rider"
    if category.startswith("human"):
        return "pedestrian.moving" if moving else "pedestrian.standing"
    if mover.parked:
        return "vehicle.parked"
    return "vehicle.moving" if moving else "vehicle.stopped"


def link(records: Iterable[Record]) -> None:
    """Fill prev and next of records that follow each other."""
    chain = list(records)
    for record in chain:
        record["prev"] = record["next"] = ""
    for before, after in pairwise(chain):
        before["next"], after["prev"] = after["token"], before["token"]


def calibrated_sensor(scene: str, sensor: Sensor, width: int, height: int) -> Record:
    """Where a sensor sits in the scene's car."""
    camera = sensor.modality == "camera"
    return {
        "token": token(scene, "calibrated_sensor", sensor.channel),
        "sensor_token": token("sensor", sensor.channel),
        "translation": list(sensor.translation_m),
        "rotation": list(sensor.rotation),
        "camera_intrinsic": sensor.intrinsic(width, height).tolist() if camera else [],
    }


def grouped(records: Iterable[Record], field: str) -> list[list[Record]]:
    """Records with the same ``field`` together, all in order of appearance."""
    groups: dict[Any, list[Record]] = {}
    for record in records:
        groups.setdefault(record[field], []).append(record)
    return list(groups.values())


def sample_data(
    key: str, sample: str, channel: str, stamp_us: int, filename: str, is_key: bool
) -> Record:
    """A sensor's reading; height and width are a picture's alone.

    Args:
        key: What the scene's tokens are made of.
        sample: Token of the sample that it belongs to.
        channel: The sensor's.
        stamp_us: When it was taken.
        filename: Below the data set's folder.
        is_key: Whether it is the sample's own, not a sweep before it.
    """
    return {
        "token": token(key, "sample_data", channel, stamp_us),
        "sample_token": sample,
        "ego_pose_token": token(key, "ego_pose", channel, stamp_us),
        "calibrated_sensor_token": token(key, "calibrated_sensor", channel),
        "timestamp": stamp_us,
        "fileformat": "jpg" if filename.endswith(".jpg") else "pcd",
        "is_key_frame": is_key,
        "height": 0,
        "width": 0,
        "filename": filename,
    }


def instance(chain: Sequence[Record], category: str) -> Record:
    """The road user that a chain of annotations is of."""
    return {
        "token": chain[0]["instance_token"],
        "category_token": token("category", category),
        "nbr_annotations": len(chain),
        "first_annotation_token": chain[0]["token"],
        "last_annotation_token": chain[-1]["token"],
    }


def scene_records(
    key: str, name: str, logfile: str, description: str, samples: Sequence[Record]
) -> dict[str, Record]:
    """A scene with a log and a map of its own.

    Args:
        key: What the scene's tokens are made of.
        name: Of the scene.
        logfile: Name of the log.
        description: Of the scene.
        samples: Its samples, in order.
    """
    log, mask = token(key, "log"), token(key, "map")
    start_s = samples[0]["timestamp"] * 1e-6
    day = datetime.datetime.fromtimestamp(start_s, datetime.timezone.utc)
    return {
        "scene": {
            "token": token(key, "scene"),
            "log_token": log,
            "nbr_samples": len(samples),
            "first_sample_token": samples[0]["token"],
            "last_sample_token": samples[-1]["token"],
            "name": name,
            "description": f"Synthetic street, {description}",
        },
        "log": {
            "token": log,
            "logfile": logfile,
            "vehicle": "synthetic",
            "date_captured": day.strftime("%Y-%m-%d"),
            "location": "synthetic-street",
        },
        "map": {
            "token": mask,
            "category": "semantic_prior",
            "filename": f"maps/{mask}.png",
            "log_tokens": [log],
        },
    }
