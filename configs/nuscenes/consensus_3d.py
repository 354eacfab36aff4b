"""nuScenes, boxes in metres: what sensors and experts agree on."""

_base_ = "concat_3d.py"
model = dict(
    fusion=dict(type="OddOneOutFusion", gate=None),
    aggregator=dict(type="ConsensusAggregator", gate=dict(attribution_threshold=3.0)),
    branch_head={{_base_.model.bbox_head}},
)
load_from = "work_dirs/nuscenes_concat_3d/epoch_10.pth"
