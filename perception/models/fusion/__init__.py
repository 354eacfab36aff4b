"""Exchangeable fusion necks, one file each."""

from perception.models.consensus.agreement import AgreementFusion
from perception.models.consensus.consensus import ConsensusFusion
from perception.models.consensus.median import MedianFusion
from perception.models.fusion.base import FusionNeck, FusionOutput
from perception.models.fusion.concat import ConcatFusion
from perception.models.fusion.lel import LatentEnsembleFusion
from perception.models.fusion.mean import MeanFusion
from perception.models.fusion.odd_one_out import OddOneOutFusion

__all__ = [
    "AgreementFusion",
    "ConcatFusion",
    "ConsensusFusion",
    "FusionNeck",
    "FusionOutput",
    "LatentEnsembleFusion",
    "MeanFusion",
    "MedianFusion",
    "OddOneOutFusion",
]
