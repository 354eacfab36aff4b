"""The multi-sensor detector."""

from perception.core.dependencies import require_mmcv_ops

require_mmcv_ops()  # before mmdet fails on them with a bare `mmcv._ext`

from perception.models.branch import SensorBranch
from perception.models.detector import MultiModalDetector
from perception.models.fusion import (
    AgreementFusion,
    ConcatFusion,
    ConsensusFusion,
    FusionNeck,
    FusionOutput,
    LatentEnsembleFusion,
    MeanFusion,
    MedianFusion,
    OddOneOutFusion,
)
from perception.models.preprocessor import MultiModalPreprocessor

__all__ = [
    "AgreementFusion",
    "ConcatFusion",
    "ConsensusFusion",
    "FusionNeck",
    "FusionOutput",
    "LatentEnsembleFusion",
    "MeanFusion",
    "MedianFusion",
    "MultiModalDetector",
    "MultiModalPreprocessor",
    "OddOneOutFusion",
    "SensorBranch",
]
