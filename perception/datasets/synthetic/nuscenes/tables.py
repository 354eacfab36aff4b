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
from perception.datasets.synthetic.world.actors import Mover

Record = dict[str, Any]
# Tables that each scene adds to; the others are the same in every set.
SCENE_TABLES = (
    *("scene", "log", "map", "sample", "sample_data", "ego_pose"),
    *("calibrated_sensor", "instance", "sample_annotation"),
)
CATEGORIES = (
    *(f"human.pedestrian.{who}" for who in ("adult", "child", "wheelchair")),
    *(f"human.pedestrian.{who}" for who in ("stroller", "personal_mobility")),
    *(f"human.pedestrian.{who}" for who in ("police_officer", "construction_worker")),
    *("animal", "vehicle.car", "vehicle.motorcycle", "vehicle.bicycle"),
    *("vehicle.bus.bendy", "vehicle.bus.rigid", "vehicle.truck"),
    *("vehicle.construction", "vehicle.emergency.ambulance"),
    *("vehicle.emergency.police", "vehicle.trailer", "movable_object.barrier"),
    *("movable_object.trafficcone", "movable_object.pushable_pullable"),
    *("movable_object.debris", "static_object.bicycle_rack"),
)
ATTRIBUTES = (
    *("vehicle.moving", "vehicle.stopped", "vehicle.parked"),
    *("cycle.with_rider", "cycle.without_rider"),
    *(f"pedestrian.{what}" for what in ("sitting_lying_down", "standing", "moving")),
)
# Upper ends of the visible share, and nuScenes' names; tokens are 1, 2, 3, 4.
VISIBILITIES = ((0.4, "v0-40"), (0.6, "v40-60"), (0.8, "v60-80"), (1.0, "v80-100"))
_SHARE = "visible share of at most {:.0%} over all images"
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
            {"token": str(number), "level": level, "description": _SHARE.format(share)}
            for number, (share, level) in enumerate(VISIBILITIES, start=1)
        ],
        "sensor": [
            {"token": token("sensor", one.channel)}
            | {"channel": one.channel, "modality": one.modality}
            for one in SENSORS
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

    ``key`` is what the scene's tokens are made of, ``sample`` the token of the sample
    it belongs to; ``is_key`` tells its own reading from a sweep before it.
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
    """A scene with a log and a map of its own; ``samples`` are in order."""
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
