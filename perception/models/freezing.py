"""Training of what boxes in metres add to a detector, and of nothing else."""

from __future__ import annotations

from typing import Any

from torch import nn

from perception.models.heads.fcos_3d import FCOS3DHead


def frozen_for_metres(detector: Any) -> list[nn.Module]:
    """Freeze all weights but the metric layers of a detector's heads.

    Returns:
        The modules whose statistics have to stay as well: those around the heads.

    Raises:
        ValueError: If a head says nothing in metres.
    """
    heads = detector.heads
    if not all(isinstance(head, FCOS3DHead) for head in heads):
        raise ValueError("freeze_2d needs heads of boxes in metres, FCOS3DHead")
    detector.requires_grad_(False)
    for head in heads:
        for layer in head.metric_layers():
            layer.requires_grad_(True)
    gate = None if detector.aggregator is None else detector.aggregator.gate
    parts = [detector.branches, detector.branch_projections, detector.fusion, gate]
    return [part for part in parts if part is not None]
