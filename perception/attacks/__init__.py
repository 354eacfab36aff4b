"""Single-sensor attacks on any multi-sensor detector."""

from perception.attacks.base import Attack, AttackResult, worst_of
from perception.attacks.batch import AttackBatch, prepare_batch
from perception.attacks.joint import JointThreat
from perception.attacks.pgd import PGD
from perception.attacks.registry import ATTACKS, THREATS, build_attack, build_threat
from perception.attacks.threat_model import MapThreat, ThreatModel

__all__ = [
    "ATTACKS",
    "PGD",
    "THREATS",
    "Attack",
    "AttackBatch",
    "AttackResult",
    "JointThreat",
    "MapThreat",
    "ThreatModel",
    "build_attack",
    "build_threat",
    "prepare_batch",
    "worst_of",
]
