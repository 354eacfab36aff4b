"""Every kind of file that tools read: a small real one, and what reads it."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

TESTS = Path(__file__).resolve().parents[1]
for _folder in ("evaluation", "datasets", ""):
    sys.path.insert(0, str(TESTS / _folder))

from mmengine.config import Config  # noqa: E402
from nuscenes_makers import VERSION, make_nuscenes  # noqa: E402
from report_makers import make_pairs, robust_results, write_results  # noqa: E402
from tiny_kitti import write_kitti  # noqa: E402

import perception.models  # noqa: E402, F401  registers what the configs name
from perception.attacks import THREATS  # noqa: E402
from perception.attacks.build import build_threat  # noqa: E402
from perception.attacks.patch.files import load_patch, save_patch  # noqa: E402
from perception.core.checkpoints import load_checkpoint, save_weights  # noqa: E402
from perception.core.config import load_config  # noqa: E402
from perception.core.files import read_json  # noqa: E402
from perception.core.images import image_size, read_depth, read_image  # noqa: E402
from perception.core.provenance import Environment  # noqa: E402
from perception.core.structures import Objects  # noqa: E402
from perception.datasets.kitti import files as kitti  # noqa: E402
from perception.datasets.kitti.reader import KittiFrames  # noqa: E402
from perception.datasets.loading import build_dataset  # noqa: E402
from perception.datasets.nuscenes import files as nuscenes  # noqa: E402
from perception.datasets.nuscenes.index import load_scene  # noqa: E402
from perception.datasets.nuscenes.prepare import write_index  # noqa: E402
from perception.datasets.nuscenes.reader import NuScenesFrames  # noqa: E402
from perception.datasets.nuscenes.tables import TABLES  # noqa: E402
from perception.evaluation.audit.run import read_audit  # noqa: E402
from perception.evaluation.detection.report import (  # noqa: E402
    evaluate_frames,
    read_about,
    read_folders,
)
from perception.evaluation.detection.rules import KITTI_DIFFICULTIES  # noqa: E402
from perception.evaluation.robustness.attack_file import AttackFile  # noqa: E402
from perception.evaluation.robustness.records import FrameRecord  # noqa: E402
from perception.evaluation.robustness.store import FrameStore  # noqa: E402
from perception.models.consensus.monitor import SensorMonitor  # noqa: E402
from perception.models.loading import load_detector  # noqa: E402
from perception.training.work_folder import latest_checkpoint  # noqa: E402
from perception.visualization.report.gallery import read_gallery  # noqa: E402
from perception.visualization.report.page import write_report  # noqa: E402

FACE = {
    "type": "PatchThreat",
    "sensor": "camera",
    "placement": {"on": "face", "size_m": [0.6, 0.6]},
    "texture_px": [8, 8],
    "eot": {},
}


@dataclass(frozen=True)
class Reader:
    """One kind of file.

    Attributes:
        name: Of the kind.
        file: A whole one, which is damaged and made whole again.
        way: How it is damaged, see ``mutations``.
        read: Reads it, as a tool would; what it returns must be finite.
        weight: How often it is chosen; slow ones are less often.
    """

    name: str
    file: Path
    way: str
    read: object
    weight: float = 1.0


def readers(root: Path) -> list[Reader]:
    """All of them, their files below ``root``."""
    made = [*_kitti(root / "kitti"), *_nuscenes(root), *_ours(root / "ours")]
    made += _configs(root)
    assert len({one.name for one in made}) == len(made)
    return made


def _kitti(root):
    base = write_kitti(root, train=1, val=1) / "training"
    name, labels = "000000", base / "label_2"
    image, points = base / "image_2" / f"{name}.png", base / "velodyne" / f"{name}.bin"
    jpeg, depth = root / "picture.jpg", base / "depth_2" / f"{name}.png"
    kitti.write_image(jpeg, read_image(image))
    calib, split = base / "calib" / f"{name}.txt", root / "ImageSets" / "train.txt"
    found = root / "results" / f"{name}.txt"
    objects = kitti.read_objects(labels / f"{name}.txt")
    scores = np.array([0.5, 0.25])
    kitti.write_objects(
        found, Objects.from_boxes(objects.names, objects.boxes_px, scores)
    )

    about = root / "about.json"
    level = asdict(KITTI_DIFFICULTIES[0]) | {"type": "Difficulty"}
    about.write_text(json.dumps({"overlaps": {"Car": 0.7}, "difficulties": [level]}))

    def frame(path):
        return KittiFrames(root, "train")[0].sensors

    def score(path):
        evaluate_frames(*read_folders(labels, found.parent))

    return [
        Reader("points", points, "", kitti.read_points, 3),
        Reader("calibration", calib, "words", kitti.read_calib, 3),
        Reader("calibration of a frame", calib, "words", frame),
        Reader("labels", labels / f"{name}.txt", "words", kitti.read_objects, 3),
        Reader("results", found, "words", score, 0.3),
        Reader("about.json", about, "json", lambda path: read_about(path) and None),
        Reader("split", split, "words", frame),
        Reader("picture", image, "png", read_image, 3),
        Reader("picture's size", image, "png", image_size, 3),
        Reader("JPEG", jpeg, "", read_image, 3),
        Reader("JPEG's size", jpeg, "", image_size, 3),
        Reader("depth", depth, "png", read_depth, 3),
    ]


def _nuscenes(root):
    plain, indexed = make_nuscenes(root / "plain"), make_nuscenes(root / "indexed")
    write_index(indexed, VERSION)
    folder = indexed / f"index-{VERSION}"
    (plain / VERSION / "splits.json").write_text('{"own": ["scene-0061"]}')

    def frames(path):
        load_scene.cache_clear()
        found = NuScenesFrames(plain if plain in path.parents else indexed)
        frame = found[0]
        return [
            *frame.sensors.values(),
            *vars(frame.calibration)["cam_T_sensor"].values(),
        ]

    first = next((indexed / "samples" / "LIDAR_TOP").iterdir())
    radar = next((indexed / "samples" / "RADAR_FRONT").iterdir())
    tables = [*TABLES, "splits"]
    return [
        *(
            Reader(
                f"table {name}", plain / VERSION / f"{name}.json", "json", frames, 0.05
            )
            for name in tables
        ),
        Reader("index", folder / "index.json", "json", frames),
        Reader("scene", folder / "scenes" / "scene-0061.json", "json", frames, 2),
        Reader("sweep", first, "", nuscenes.read_lidar, 3),
        Reader("radar", radar, "words", nuscenes.read_radar, 3),
    ]


def record(frame_id, index):
    """An attacked frame."""
    boxes = Objects.from_boxes(np.array(["Car"], object), np.array([[1.0, 2, 30, 40]]))
    found = Objects.from_boxes(boxes.names, boxes.boxes_px, np.array([0.5]))
    gate = (0.2, 0.3, 0.5)
    change = {"camera": {"red": 1.0}}
    losses = (0.5, 0.75, 0.25)
    return FrameRecord(
        frame_id, index, boxes, found, found, gate, gate, *losses, change, 0.1, found
    )


def _ours(root):
    store = FrameStore(root / "store", {"seed": 0, "sensors": ["camera"]})
    store.append([record("000000", 0), record("000001", 1)])
    store.begin(Environment.here("cpu"))
    monitor, audit = root / "monitor.json", root / "audit.json"
    clean = np.tile([0.2, 0.3, 0.5], (9, 1))
    SensorMonitor.calibrate(
        clean, sensors=["camera", "lidar"], false_alarm_rate=0.1
    ).save(monitor)
    checks = [{"name": "a", "passed": True}, {"name": "b", "passed": False}]
    audit.write_text(json.dumps({"audit": {"passed": False, "checks": checks}}))
    results = root / "robustness.json"
    write_results(results, robust_results())
    make_pairs(root / "shown", 1)
    pair = next((root / "shown").rglob("*.json"))
    picture = next((root / "shown").rglob("*clean*.webp"))
    threat = build_threat("sign", FACE)
    patch = root / "sign.png"
    save_patch(patch, torch.rand(3, *threat.texture_px) * 255, threat)
    attacks = root / "attacks.json"
    attacks.write_text(json.dumps({"attacks": _attacks(), "suites": {"all": ["a"]}}))
    weights = {"a.weight": torch.rand(3, 4), "b": torch.arange(4)}
    checkpoint, bare = root / "run" / "epoch_2.pth", root / "bare.safetensors"
    checkpoint.parent.mkdir(parents=True)
    plain = {"message_hub": {"runtime_info": {"epoch": 2}}, "epoch": 2}
    torch.save({"state_dict": weights, "meta": {"iter": 5}, **plain}, checkpoint)
    last = root / "run" / "last_checkpoint"
    last.write_text("/elsewhere/epoch_2.pth")
    save_weights(bare, weights)

    def stored(path):
        again = FrameStore(
            store.folder, {"seed": 0, "sensors": ["camera"]}, resume=True
        )
        again.environments()
        again.check(Environment.here("cpu"), ["000000"])
        return [one.attacked.boxes_px for one in again.read().values()]

    def watched(path):
        one = SensorMonitor.load(path)
        state = one.update([1 / (len(one.sensors) + 1)] * (len(one.sensors) + 1))
        return [np.array([one.threshold, state.score])]

    def audited(path):
        return [
            c["name"] for c in read_audit(path).get("audit", {"checks": []})["checks"]
        ]

    def built(path):
        file = AttackFile(path)
        for name in file.names(file.attacks):
            file.build(name)

    def shown(path):
        read_gallery([root / "shown"])

    def page(path):
        write_report([path], root / "report.html")

    def weighed(path):
        found = load_checkpoint(path)["state_dict"]
        return [v.detach() for v in found.values() if isinstance(v, torch.Tensor)]

    return [
        Reader("frames.jsonl", root / "store" / "frames.jsonl", "lines", stored, 3),
        Reader("settings.json", root / "store" / "settings.json", "json", stored),
        Reader(
            "environments.json", root / "store" / "environments.json", "json", stored
        ),
        Reader("monitor.json", monitor, "json", watched, 3),
        Reader("audit.json", audit, "json", audited, 3),
        Reader("robustness.json", results, "json", page, 0.3),
        Reader("pair", pair, "json", shown, 0.5),
        Reader("pair's picture", picture, "", shown, 0.5),
        Reader("patch", patch, "png", lambda path: [load_patch(path)[0]], 0.5),
        Reader(
            "patch.json",
            patch.with_suffix(".json"),
            "json",
            lambda path: load_patch(patch),
        ),
        Reader("attacks file", attacks, "json", built, 0.5),
        Reader("checkpoint", checkpoint, "zip", weighed, 2),
        Reader("safetensors", bare, "", weighed, 2),
        Reader(
            "last_checkpoint",
            last,
            "words",
            lambda path: latest_checkpoint(path.parent),
        ),
    ]


def _configs(root):
    """Parts of a detector's config, each in a file of its own."""
    whole = load_config(TESTS.parent / "configs" / "synthetic" / "consensus.py")
    model, data = whole.model.to_dict(), whole.test_dataloader.dataset.to_dict()
    for branch in model["branches"].values():
        branch["backbone"] |= {"base_channels": 4, "stem_channels": 4}
        branch["backbone"].pop("init_cfg", None)
        branch["neck"]["in_channels"] = [4, 8, 16]
    data["frames"] |= {"root": str(root / "kitti"), "optional_sensors": []}
    files = {"model": model, "dataset": data}
    for name, content in files.items():
        (root / f"{name}.json").write_text(json.dumps(content))

    def config(**changed):
        loader = {"dataset": changed.get("dataset", data)}
        found = {"model": changed.get("model", model), "test_dataloader": loader}
        return Config(found)

    def detector(path):
        load_detector(config(model=read_json(path)))

    def dataset(path):
        frame = build_dataset(config(dataset=read_json(path)), "test")[0]
        return list(frame["inputs"].values())

    return [
        Reader("model of a config", root / "model.json", "config", detector, 0.1),
        Reader("data of a config", root / "dataset.json", "config", dataset, 0.3),
    ]


def _attacks():
    eps = {"depth_m": 1.0, "reflectance": 0.1}
    lidar = {
        "type": "MapThreat",
        "sensor": "lidar",
        "eps": eps,
        "goal": "hide|none*0.1",
    }
    camera = {"type": "MapThreat", "sensor": "camera", "eps": 16.0, "norm": "l2"}
    add = {"type": "PointAdd", "sensor": "lidar", "count": 5, "candidates": [2, 3]}
    face = FACE
    assert {one["type"] for one in (lidar, add, face)} <= THREATS.module_dict.keys()
    return {
        "a": {"type": "PGD", "threat": lidar},
        "b": {"type": "APGD", "threat": camera},
        "c": {"type": "PGD", "threat": add},
        "d": {"type": "FixedPatch", "texture": "grey", "threat": face},
        "e": {"type": "Adaptive", "search": {"type": "PGD"}, "threat": camera},
        "f": {
            "type": "PGD",
            "threat": {"type": "JointThreat", "parts": [lidar, camera]},
        },
        "g": {"type": "Corruption", "sensor": "lidar", "kind": "fog", "severity": 3},
    }
