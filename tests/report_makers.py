"""Results of tools/attack.py and tools/robustness.py, made by hand."""

import json

from PIL import Image

SENSORS = {
    "camera": {
        "type": "SensorSpec",
        "name": "camera",
        "kind": "image",
        "channels": [{"name": "red", "unit": "grey levels", "low": 0.0, "high": 255.0}],
        "columns": [],
    },
    "lidar": {
        "type": "SensorSpec",
        "name": "lidar",
        "kind": "points",
        "channels": [{"name": "depth_m", "unit": "m", "low": 0.0, "high": 80.0}],
        "columns": ["x", "y", "z", "reflectance"],
    },
}
NAMES = [*SENSORS, "none"]


def figures(mean, classes=("Car", "Cyclist")):
    """One ``ap`` block."""
    cells = {name: {"moderate": {"R40": mean, "R11": mean}} for name in classes}
    block = {"mAP": mean, "overlaps": dict.fromkeys(classes, 0.5), "classes": cells}
    return {"headline": block, "kitti": {**block, "mAP": mean and mean / 2}}


def attack(
    name,
    sensor,
    mean,
    *,
    clean=80.0,
    threat=(),
    gate=None,
    classes=("Car",),
    oracle=None,
    loss=2.0,
):
    """One entry of ``attacks``; it raises a loss of 1.0 to ``loss``."""
    given = threat
    threat = {"type": "MapThreat", "name": name, "sensor": sensor, "norm": "linf"}
    threat |= {"goal": "detection"} | (dict(given) or {"eps": 16.0, "steps": 20})
    ap = {"clean": figures(clean, classes), "attacked": figures(mean, classes)}
    if oracle is not None:
        ap["oracle"] = figures(oracle, classes)
    counts = None
    if gate:
        total = sum(gate)
        counts = {
            "names": NAMES,
            "clean": {"blamed": {"camera": 1, "lidar": 0, "none": total - 1}},
            "attacked": {"blamed": dict(zip(NAMES, gate, strict=True))},
        }
    return {
        "name": name,
        "touched": sensor.split("+"),
        "attack": {"type": "PGD", "threat": threat},
        "ap": ap,
        "success": {"rate": 0.5, "found_clean": 9, "lost": 4, "false_new": 2},
        "damage": {"clean": 1.0, "attacked": loss},
        "gate": counts,
        "timing": {"attack_s": 2.0, "attack_s_per_frame": 0.5},
    }


def failure(sensor, kind, severity, mean):
    """The entry of a failing sensor."""
    threat = {"type": "Corruption", "kind": kind, "severity": severity}
    name = f"{sensor}_{kind}_{severity}"
    return attack(name, sensor, mean, threat=threat)


def named(*entries):
    """Entries by name."""
    return {entry["name"]: entry for entry in entries}


def attack_results(attacks=None, *, clean=80.0, config="configs/toy/concat.py", **more):
    """The content of a results.json."""
    if attacks is None:
        attacks = named(
            attack("camera_pgd", "camera", 40.0),
            attack("camera_apgd", "camera", 35.5),
            attack("camera_noise", "camera", 78.0),
            attack("camera_pgd@eps=8.0", "camera", 60.0, threat={"eps": 8.0}),
            attack("lidar_pgd", "lidar", 5.0, threat={"eps": {"depth_m": 2.0}}),
            attack("all_pgd", "camera+lidar", 0.0),
        )
    return {
        "format": "perception attack results",
        "version": 1,
        "command": f"python tools/attack.py {config}",
        "attacks_file": "standard.py",
        "config": config,
        "config_sha256": "c0" * 32,
        "checkpoint": "work_dirs/toy/epoch_1.pth",
        "checkpoint_sha256": "ab" * 32,
        "data_root": "data/toy",
        "split": "val",
        "frame_ids": ["000001", "000002"],
        "sensors": SENSORS,
        "classes": ["Car", "Cyclist"],
        "scoring": {"headline": "moderate"},
        "clean_ap": figures(clean),
        "attacks": attacks,
        "environment": {"versions": {"python": "3.11"}, "finished": "2026-01-01"},
    } | more


def robust_results():
    """The content of a robustness.json: two detectors, the second has a gate."""
    file = attack_results()
    kinds = [("camera", "fog"), ("camera", "blackout"), ("lidar", "beam_loss")]
    failing = [
        failure(sensor, kind, level, 80.0 - 12 * level - 5 * n)
        for n, (sensor, kind) in enumerate(kinds)
        for level in range(1, 6)
    ]
    common = {key: file.pop(key) for key in ("config", "config_sha256", "checkpoint")}
    file.pop("checkpoint_sha256")
    concat = {
        "name": "toy_concat",
        **common,
        "checkpoint_sha256": "ab" * 32,
        "sensors": ["camera", "lidar"],
        "has_gate": False,
        "clean": file.pop("clean_ap"),
        "attacks": file.pop("attacks") | named(*failing),
        "curves": {
            "lidar_pgd": [
                {"eps_scale": 0.25, "mAP": 30.0},
                {"eps_scale": 1.0, "mAP": 5.0},
            ]
        },
    }
    robust = {
        **concat,
        "name": "toy_robust",
        "checkpoint_sha256": "cd" * 32,
        "clean": figures(78.5),
        "attacks": named(
            attack("camera_pgd", "camera", 62.0, clean=78.5, gate=(8, 1, 1)),
            attack("lidar_pgd", "lidar", 55.0, clean=78.5, gate=(2, 5, 3), oracle=66.0),
            attack("all_pgd", "camera+lidar", 1.0, clean=78.5, gate=(5, 5, 0)),
            *failing,
        ),
        "curves": {
            "lidar_pgd": [
                {"eps_scale": 0.25, "mAP": 70.0},
                {"eps_scale": 1.0, "mAP": 55.0},
            ]
        },
    }
    groups = [
        {
            "name": "concat",
            "detectors": ["toy_concat"],
            "seeds": 2,
            "clean": {"mean": 80.0, "spread": 0.4},
            "attacks": {"camera_pgd": {"mean": 40.0, "spread": None}},
        }
    ]
    return file | {
        "format": "perception robustness results",
        "seeds": [0],
        "baseline": "toy_concat",
        "detectors": [concat, robust],
        "groups": groups,
    }


def write_results(path, content):
    """The content as a file."""
    path.write_text(json.dumps(content), encoding="utf-8")
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
        write_results(pairs / f"{name}.json", content)
    return folder
