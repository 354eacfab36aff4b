"""Synthetic drives in nuScenes' format: what sensors and experts agree on."""

_base_ = "synthetic_concat.py"
model = dict(
    fusion=dict(type="OddOneOutFusion", gate=None),
    aggregator=dict(type="ConsensusAggregator", gate=dict(attribution_threshold=3.0)),
    branch_head={{_base_.model.bbox_head}},
)
load_from = "work_dirs/nuscenes_synthetic_concat/epoch_6.pth"
