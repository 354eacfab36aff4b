"""Results of tools/attack.py and tools/robustness.py, made by hand."""

import json
from dataclasses import replace

from PIL import Image

from perception.core.provenance import Environment
from perception.core.structures import Channel, SensorSpec
from perception.evaluation.detection.rules import Scoring
from perception.evaluation.robustness.figures import (
    corruption_figures,
    oracle_per_sensor,
    worst_per_sensor,
)
from perception.evaluation.robustness.gate_figures import gate_summary
from perception.evaluation.robustness.results import (
    Accuracy,
    AttackResult,
    ClassAP,
    CorruptionKind,
    CurvePoint,
    DetectorResult,
    GateCounts,
    GateResult,
    Group,
    Loss,
    MeanAP,
    Results,
    RunInfo,
    Spread,
    Stages,
    Success,
)

RED = Channel("red", "grey levels", 0.0, 255.0)
DEPTH = Channel("depth_m", "m", 0.0, 80.0)
SENSORS = {
    "camera": SensorSpec("camera", "image", (RED,)),
    "lidar": SensorSpec("lidar", "points", (DEPTH,), ("x", "y", "z", "reflectance")),
}
NAMES = (*SENSORS, "none")
CPU = Environment("cpu", torch="2.9")


def accuracy(mean, classes=("Car", "Cyclist"), objects=50):
    """AP of every class is the mean; half of it at KITTI's overlaps."""
    cells = {name: {"moderate": ClassAP(mean, mean, objects)} for name in classes}
    headline = MeanAP(mean, dict.fromkeys(classes, 0.5), cells)
    return Accuracy(headline, replace(headline, mean=mean and mean / 2))


def gate_counts(attributed, alarm=None):
    """Frames in which the alarm was attributed to camera, lidar and none."""
    counts = dict(zip(NAMES, attributed, strict=True))
    return GateCounts(counts, alarm, dict.fromkeys(NAMES, 1 / 3))


def attack(
    name,
    sensor,
    mean,
    *,
    clean=80.0,
    eps=16.0,
    gate=None,
    alarms=(None, None),
    classes=("Car", "Cyclist"),
    oracle=None,
    objects=50,
    **more,
):
    """An attack that leaves a mean AP; ``gate`` counts its frames by attribution."""
    threat = {"type": "MapThreat", "sensor": sensor, "norm": "linf", "eps": eps}
    if gate:
        before = gate_counts((1, 0, sum(gate) - 1), alarms[0])
        gate = GateResult(before, gate_counts(gate, alarms[1]), 0.5, None, None)
    given = {
        "name": name,
        "attacked_sensors": tuple(sensor.split("+")),
        "description": {"type": "PGD", "threat": threat},
        "corruption": None,
        "ap": Stages(
            accuracy(clean, classes, objects),
            accuracy(mean, classes, objects),
            None if oracle is None else accuracy(oracle, classes, objects),
        ),
        "success": Success(0.5, 9, 4, 1, 2),
        "detection_loss": Loss(1.0, 2.0),
        "gate": gate,
        "ineffective": False,
        "changed": True,
        "seconds": 1.0,
        "seconds_per_frame": 0.5,
        "environments": (CPU,),
    }
    return AttackResult(**given | more)


def corruption(sensor, kind, severity, mean):
    """A failing sensor."""
    found = CorruptionKind(sensor, kind, severity)
    described = {"type": "Corruption", "kind": kind, "severity": severity}
    name = f"{sensor}_{kind}_{severity}"
    return attack(name, sensor, mean, corruption=found, description=described)


def detector(*attacks, name="toy_concat", clean=80.0, objects=50, **more):
    """One detector with its attacks, and all that follows from them."""
    given = {
        "name": name,
        "config": "configs/toy/concat.py",
        "config_sha256": "c0" * 32,
        "checkpoint": "work_dirs/toy/epoch_1.pth",
        "checkpoint_sha256": "ab" * 32,
        "sensors": tuple(SENSORS),
        "clean": accuracy(clean, objects=objects),
    }
    by_name = {one.name: one for one in attacks}
    worst = worst_per_sensor(by_name)
    given |= {
        "attacks": by_name,
        "worst": worst,
        "oracle": oracle_per_sensor(by_name, worst),
        "gate": gate_summary(by_name, given["sensors"]),
        "corruptions": corruption_figures(by_name),
    }
    return DetectorResult(**given | more)


def results(*detectors, command="python tools/attack.py configs/toy/concat.py", **more):
    """The content of a file."""
    told = {"attacks_file": "standard.py", "data_root": "data/toy", "split": "val"}
    told = {name: more.pop(name, value) for name, value in told.items()}
    info = RunInfo(
        command=command,
        **told,
        suite=("quick",),
        seeds=(0,),
        batch_size=4,
        processes=1,
        wall_s=3.0,
        finished="2026-01-01",
        versions={"python": "3.11"},
    )
    given = {
        "run": info,
        "frame_ids": ("000001", "000002"),
        "classes": ("Car", "Cyclist"),
        "sensors": SENSORS,
        "scoring": Scoring({"Car": 0.5, "Cyclist": 0.5}),
        "attacks": tuple(dict.fromkeys(a for one in detectors for a in one.attacks)),
        "baseline": detectors[0].name,
        "detectors": detectors,
    }
    return Results(**given | more)


def attack_results(**more):
    """One detector under six attacks, as tools/attack.py writes it."""
    return results(
        detector(
            attack("camera_pgd", "camera", 40.0),
            attack("camera_apgd", "camera", 35.5),
            attack("camera_noise", "camera", 78.0),
            attack("camera_pgd@eps=8.0", "camera", 60.0, eps=8.0),
            attack("lidar_pgd", "lidar", 5.0, eps={"depth_m": 2.0}),
            attack("all_pgd", "camera+lidar", 0.0),
        ),
        **more,
    )


def robust_results(*more_attacks, **more):
    """Two detectors, the second has a gate; the first has ``more_attacks``."""
    kinds = [("camera", "fog"), ("camera", "blackout"), ("lidar", "beam_loss")]
    failing = [
        corruption(sensor, kind, level, 80.0 - 12 * level - 5 * n)
        for n, (sensor, kind) in enumerate(kinds)
        for level in range(1, 6)
    ]
    plain = attack_results().detectors[0].attacks.values()
    concat = detector(
        *plain,
        *more_attacks,
        *failing,
        curves={"lidar_pgd": (CurvePoint(0.25, 30.0), CurvePoint(1.0, 5.0))},
    )
    robust = detector(
        attack("camera_pgd", "camera", 62.0, clean=78.5, gate=(8, 1, 1)),
        attack("lidar_pgd", "lidar", 55.0, clean=78.5, gate=(2, 5, 3), oracle=66.0),
        attack("all_pgd", "camera+lidar", 1.0, clean=78.5, gate=(5, 5, 0)),
        *failing,
        name="toy_robust",
        clean=78.5,
        checkpoint_sha256="cd" * 32,
        curves={"lidar_pgd": (CurvePoint(0.25, 70.0), CurvePoint(1.0, 55.0))},
    )
    spread = {"camera_pgd": Spread(40.0, 1.5)}
    group = Group("concat", ("toy_concat", "other"), Spread(80.0, 0.4), spread, {})
    return results(concat, robust, groups=(group,), **more)


def write_json(path, content):
    """Plain values as a file."""
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_results(path, content):
    """Results as a file, whether or not they are right."""
    path.write_bytes(content.to_json())
    return path


def make_pairs(folder, count, *, size=(64, 32), attack="camera_pgd", noisy=False):
    """A folder as ``tools/visualize.py detect --threat`` leaves it."""
    pairs = folder / "pairs"
    pairs.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        name = f"{n:06d}_{attack}".replace("/", "-")
        sides = {}
        for side, colour in (("clean", (0, 90, 160)), ("attacked", (200, 80, 0))):
            picture = Image.new("RGB", size, colour)
            if noisy:
                noise = Image.effect_noise(size, 60)
                picture = Image.merge("RGB", [noise, noise.rotate(90), noise.rotate(9)])
            picture.save(pairs / f"{name}_{side}.webp")
            file = {"file": f"{name}_{side}.webp", "found": ["3 of 4 found, 0 false"]}
            sides[side] = file
        content = {
            "format": "perception picture pair",
            "version": 1,
            "frame_id": f"{n:06d}",
            "attack": attack,
            "touched": ["camera"],
            "facts": [["budget", "16 grey levels"]],
            "detectors": ["concat · epoch_1.pth"],
            **sides,
        }
        write_json(pairs / f"{name}.json", content)
    return folder
