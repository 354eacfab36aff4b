"""Exchangeable fusion necks, features to features, one file each."""

from perception.models.fusion.base import FusedFeatures, FusionNeck
from perception.models.fusion.concat import ConcatFusion
from perception.models.fusion.lel import LatentEnsembleFusion
from perception.models.fusion.mean import MeanFusion
from perception.models.fusion.odd_one_out import OddOneOutFusion

__all__ = [
    "ConcatFusion",
    "FusedFeatures",
    "FusionNeck",
    "LatentEnsembleFusion",
    "MeanFusion",
    "OddOneOutFusion",
]
