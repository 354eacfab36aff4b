"""Config entries as earlier versions called them, and their successors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from perception.core.structures import DataError

_EXPERTS = 'fusion=dict(type="OddOneOutFusion", gate=None)'
TYPES = {
    "MedianFusion": 'aggregator=dict(type="MedianAggregator"), fusion=dict(...)',
    "AgreementFusion": 'aggregator=dict(type="MedianAggregator", gate=dict(...)), '
    + _EXPERTS,
    "ConsensusFusion": 'aggregator=dict(type="ConsensusAggregator"), ' + _EXPERTS,
}
"""Fusions that are aggregators in ``model.aggregator`` now, beside ``model.fusion``."""
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
BASE_ENTRIES = {"view_head": "branch_head"}
"""Of the base configs, which others mention as ``{{_base_.NAME}}``."""


def refuse_former_names(
    path: str | os.PathLike,
    config: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
) -> None:
    """Raise DataError, with the successor, if a config uses what has another name now.

    Args:
        path: The config's file.
        config: Of a whole detector, with or without its ``model``.
        options: Dotted entries to set in it.
    """
    for option in options or {}:
        if option in ENTRIES:
            raise DataError(f"{path}: {option} is called {ENTRIES[option]} now")
    fusion = (config.get("model") or {}).get("fusion") or {}
    if (former := fusion.get("type")) in TYPES:
        raise DataError(f"{path}: {former} is in model now: {TYPES[former]}")
    for former, current in ENTRIES.items():
        *outer, last = former.split(".")
        place: Any = config
        for name in outer:
            place = (place or {}).get(name)
        if last in (place or {}):
            raise DataError(f"{path}: {former} is called {current} now")
