"""KITTI at full size: consensus.py with one tower per sensor, run once; not trained."""

_base_ = [
    "../_base_/datasets/kitti_full.py",
    "../_base_/models/fcos_r18_towers.py",
    "../_base_/schedules/gpu.py",
    "../_base_/runtime/default.py",
]
model = dict(
    fusion=dict(type="OddOneOutFusion", gate=None),
    aggregator=dict(type="ConsensusAggregator", gate=dict(attribution_threshold=3.0)),
    branch_head={{_base_.model.bbox_head}},
)
load_from = "work_dirs/kitti_concat/epoch_40.pth"
