"""KITTI at full size: what sensors and experts agree on, from concat's weights."""

_base_ = "concat.py"
model = dict(
    fusion=dict(type="OddOneOutFusion", gate=None),
    aggregator=dict(type="ConsensusAggregator", gate=dict(attribution_threshold=3.0)),
    branch_head={{_base_.model.bbox_head}},
)
load_from = "work_dirs/kitti_concat/epoch_40.pth"
