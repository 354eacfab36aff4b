"""The multi-sensor detector."""

from perception.core.dependencies import import_mmdet, require_mmcv_ops

require_mmcv_ops()  # before mmdet fails on them with a bare `mmcv._ext`
import_mmdet()

from perception.models.branch import SensorBranch
from perception.models.classifier import MultiModalClassifier
from perception.models.consensus.base import Aggregator
from perception.models.consensus.consensus import ConsensusAggregator
from perception.models.consensus.median import MedianAggregator
from perception.models.detector import MultiModalDetector
from perception.models.fusion import (
    ConcatFusion,
    FusionNeck,
    LatentEnsembleFusion,
    MeanFusion,
    OddOneOutFusion,
)
from perception.models.heads.fcos_3d import FCOS3DHead
from perception.models.heads.last_layer import LastLayerFCOSHead
from perception.models.heads.linear import LinearHead
from perception.models.late_fusion import LateFusionDetector
from perception.models.output import DetectorOutput
from perception.models.preprocessor import MultiModalPreprocessor
from perception.models.pretrained import ImageNetInit
from perception.models.sequences import (
    SignalBackbone,
    VectorBackbone,
    VideoBackbone,
)
from perception.models.tower import ConvTower

__all__ = [
    "Aggregator",
    "ConcatFusion",
    "ConsensusAggregator",
    "ConvTower",
    "DetectorOutput",
    "FCOS3DHead",
    "FusionNeck",
    "ImageNetInit",
    "LastLayerFCOSHead",
    "LateFusionDetector",
    "LatentEnsembleFusion",
    "LinearHead",
    "MeanFusion",
    "MedianAggregator",
    "MultiModalClassifier",
    "MultiModalDetector",
    "MultiModalPreprocessor",
    "OddOneOutFusion",
    "SensorBranch",
    "SignalBackbone",
    "VectorBackbone",
    "VideoBackbone",
]
