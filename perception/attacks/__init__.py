"""Single-sensor attacks on any multi-sensor detector.

Attack your own detector in ten lines:

    from perception.apis import build_dataset, build_loader, load_detector
    from perception.attacks import build_attack, prepare_batch

    config, checkpoint = "configs/synthetic/concat.py", "best.pth"
    detector, frames = load_detector(config, checkpoint), build_dataset(config, "val")
    threat = dict(type="MapThreat", sensor="camera", eps=16.0, steps=20)
    attack = build_attack("camera_pgd", dict(type="PGD", threat=threat))
    for data in build_loader(frames, range(4), batch_size=2):
        batch = prepare_batch(detector, data)
        result = attack(detector, batch)
        for sample in detector.predict(result.inputs, batch.samples):
            print(sample.frame_id, sample.pred_instances.scores[:3])
"""

from perception.attacks.adaptive import Adaptive
from perception.attacks.apgd import APGD
from perception.attacks.base import Attack, AttackResult
from perception.attacks.batch import AttackBatch, prepare_batch
from perception.attacks.black_box import (
    RandomNoise,
    SquareAttack,
    TransferAttack,
    with_sources,
)
from perception.attacks.failures import Failure, FailureThreat
from perception.attacks.joint import JointThreat
from perception.attacks.map_threat import MapThreat
from perception.attacks.patch import PatchThreat
from perception.attacks.patch_fixed import FixedPatch
from perception.attacks.pgd import PGD
from perception.attacks.point_add import PointAdd
from perception.attacks.point_sets import PointDrop
from perception.attacks.points import PointFeatures, PointShift
from perception.attacks.registry import ATTACKS, THREATS, build_attack, build_threat
from perception.attacks.stereo import StereoThreat
from perception.attacks.threat_model import ThreatModel

__all__ = [
    "APGD",
    "ATTACKS",
    "PGD",
    "THREATS",
    "Adaptive",
    "Attack",
    "AttackBatch",
    "AttackResult",
    "Failure",
    "FailureThreat",
    "FixedPatch",
    "JointThreat",
    "MapThreat",
    "PatchThreat",
    "PointAdd",
    "PointDrop",
    "PointFeatures",
    "PointShift",
    "RandomNoise",
    "SquareAttack",
    "StereoThreat",
    "ThreatModel",
    "TransferAttack",
    "build_attack",
    "build_threat",
    "prepare_batch",
    "with_sources",
]
