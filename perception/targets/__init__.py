"""Systems as targets of attacks, corruptions and evaluation: one adapter per file."""

from perception.targets.maite import MaiteModel, MaiteTarget
from perception.targets.mmdetection import MMDetectionTarget
from perception.targets.multimodal import DetectorTarget
from perception.targets.onnx import OnnxTarget
from perception.targets.pictures import PictureFormat
from perception.targets.torch_module import TorchDetectorTarget

__all__ = [
    "DetectorTarget",
    "MMDetectionTarget",
    "MaiteModel",
    "MaiteTarget",
    "OnnxTarget",
    "PictureFormat",
    "TorchDetectorTarget",
]
