"""consensus.py with boxes in metres, from the weights of concat_3d."""

_base_ = [
    "../_base_/datasets/kitti_layout_3d.py",
    "../_base_/models/fcos_small_3d.py",
    "../_base_/schedules/long.py",
    "../_base_/runtime/default.py",
]
fusion = dict(type="OddOneOutFusion", gate=None)
aggregator = dict(type="ConsensusAggregator", gate=dict(attribution_threshold=3.0))
model = dict(fusion=fusion, aggregator=aggregator, branch_head={{_base_.bbox_head}})
load_from = "data/zoo/concat_3d.safetensors"
