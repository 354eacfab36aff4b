"""KITTI at half size, boxes in metres: what sensors and experts agree on."""

_base_ = [
    "../_base_/datasets/kitti_half_3d.py",
    "../_base_/models/fcos_kitti_3d.py",
    "../_base_/schedules/finetune.py",
    "../_base_/runtime/default.py",
]
fusion = dict(type="OddOneOutFusion", gate=None)
aggregator = dict(type="ConsensusAggregator", gate=dict(attribution_threshold=3.0))
model = dict(fusion=fusion, aggregator=aggregator, branch_head={{_base_.bbox_head}})
