"""Systems as targets of attacks, corruptions and evaluation: one adapter per file."""

from perception.targets.multimodal import DetectorTarget

__all__ = ["DetectorTarget"]
