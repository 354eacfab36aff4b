"""Single-sensor attacks on any multi-sensor detector.

Attack your own detector in ten lines:

    from perception.apis import build_dataset, build_loader, load_target
    from perception.attacks import build_attack

    config, checkpoint = "configs/synthetic/concat.py", "best.pth"
    target, frames = load_target(config, checkpoint), build_dataset(config, "val")
    threat = dict(type="MapThreat", sensor="camera", eps=16.0, steps=20)
    attack = build_attack("camera_pgd", dict(type="PGD", threat=threat))
    for data in build_loader(frames, range(4), batch_size=2):
        batch = target.batch(data)
        result = attack(target, batch)
        for prediction in target.predict(result.inputs, batch.samples):
            print(prediction.detections.scores[:3])
"""

from perception.attacks.base import Attack, Perturbation, Perturbed
from perception.attacks.batch import AttackBatch
from perception.attacks.build import build_attack, build_threat
from perception.attacks.goals import Goal
from perception.attacks.patch.files import FixedPatch
from perception.attacks.patch.threat import PatchThreat
from perception.attacks.registry import ATTACKS, THREATS
from perception.attacks.searches.adaptive import Adaptive
from perception.attacks.searches.apgd import APGD
from perception.attacks.searches.black_box import (
    RandomNoise,
    SquareAttack,
    TransferAttack,
    with_sources,
)
from perception.attacks.searches.ensemble import Ensemble
from perception.attacks.searches.interval import IntervalPGD
from perception.attacks.searches.nested import NestedBudgets
from perception.attacks.searches.pgd import PGD
from perception.attacks.target import Target
from perception.attacks.threats.base import ThreatModel
from perception.attacks.threats.joint import JointThreat
from perception.attacks.threats.maps import MapThreat
from perception.attacks.threats.point_add import PointAdd
from perception.attacks.threats.point_drop import PointDrop
from perception.attacks.threats.points import PointFeatures, PointShift
from perception.attacks.threats.stereo import StereoThreat

__all__ = [
    "APGD",
    "ATTACKS",
    "PGD",
    "THREATS",
    "Adaptive",
    "Attack",
    "AttackBatch",
    "Ensemble",
    "FixedPatch",
    "Goal",
    "IntervalPGD",
    "JointThreat",
    "MapThreat",
    "NestedBudgets",
    "PatchThreat",
    "Perturbation",
    "Perturbed",
    "PointAdd",
    "PointDrop",
    "PointFeatures",
    "PointShift",
    "RandomNoise",
    "SquareAttack",
    "StereoThreat",
    "Target",
    "ThreatModel",
    "TransferAttack",
    "build_attack",
    "build_threat",
    "with_sources",
]
