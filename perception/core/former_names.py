"""Config entries as earlier versions called them, and their successors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from perception.core.structures import DataError

TYPES = {
    "MedianFusion": "MedianAggregator",
    "AgreementFusion": "AgreementAggregator",
    "ConsensusFusion": "ConsensusAggregator",
}
"""Fusions that are aggregators of ``model.aggregator`` now, beside ``model.fusion``."""
ENTRIES = {
    "model.view_head": "model.branch_head",
    "model.fusion.fused": "model.fusion",
    "model.fusion.margin": "model.aggregator.margin",
    "model.fusion.box_margin": "model.aggregator.box_margin",
    "model.fusion.lift": "model.aggregator.logit_slack",
    "model.fusion.box_pull": "model.aggregator.box_contraction",
    "model.fusion.blame_at": "model.aggregator.gate.attribution_threshold",
    "model.fusion.doubt_at": "model.aggregator.gate.alarm_threshold",
    "model.fusion.momentum": "model.aggregator.gate.momentum",
    "model.fusion.view_loss_weight": "model.aggregator.branch_loss_weight",
    "model.fusion.expert_loss_weight": "model.aggregator.expert_loss_weight",
    "model.fusion.worst_loss_weight": "model.aggregator.worst_loss_weight",
}


def refuse_former_names(path: str | os.PathLike, config: Mapping[str, Any]) -> None:
    """Raise DataError, with the successor, if a config uses what has another name now.

    Args:
        path: The config's file.
        config: Of a whole detector, with or without its ``model``.
    """
    fusion = (config.get("model") or {}).get("fusion") or {}
    if fusion.get("type") in TYPES:
        former = fusion["type"]
        raise DataError(
            f"{path}: model.fusion: {former} is now an aggregator beside a fusion: write "
            f'aggregator=dict(type="{TYPES[former]}") in model, and as its fusion what '
            "was `fused`, or OddOneOutFusion with gate=None for agreement and consensus"
        )
    for former, current in ENTRIES.items():
        *path, last = former.split(".")
        place: Any = config
        for name in path:
            place = (place or {}).get(name)
        if last in (place or {}):
            raise DataError(f"{path}: {former} is called {current} now")
