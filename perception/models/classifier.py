"""The multi-sensor classifier: a detector of one object that fills the sample."""

from __future__ import annotations

from collections.abc import Mapping

from mmdet.registry import MODELS

from perception.models.detector import MultiModalDetector


@MODELS.register_module()
class MultiModalClassifier(MultiModalDetector):
    """Classifies samples seen by any set of named sensors.

    A sample's features are a pyramid of one level without a size, its class is its only
    object: fusion necks, aggregators, gates, attacks, training and tables are those of
    detectors.

    Args:
        branches: As in :class:`MultiModalDetector`, with backbones such as
            ``SignalBackbone``.
        head: Config of a ``LinearHead``; each sensor alone is judged by one of its own.
        data_preprocessor: As in :class:`MultiModalDetector`.
        fusion: Likewise, but for ``num_levels``.
        aggregator: Likewise.
        init_cfg: MMEngine initialisation config.
    """

    def __init__(
        self,
        *,
        branches: Mapping[str, dict],
        head: dict,
        data_preprocessor: dict,
        fusion: dict | None = None,
        aggregator: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if fusion is not None:
            fusion = dict(fusion, num_levels=1)
            if fusion["type"] == "OddOneOutFusion":
                fusion.setdefault("gate_level", 0)
        super().__init__(
            branches=branches,
            bbox_head=head,
            branch_head=None if aggregator is None else head,
            data_preprocessor=data_preprocessor,
            fusion=fusion,
            aggregator=aggregator,
            init_cfg=init_cfg,
        )
