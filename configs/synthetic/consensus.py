"""What sensors and experts agree on, trained for the worst that one sensor can do.

No attack is needed for that, see ConsensusAggregator. 20 epochs, from concat's weights.
"""

_base_ = [
    "../_base_/datasets/kitti_layout.py",
    "../_base_/models/fcos_small.py",
    "../_base_/schedules/long.py",
    "../_base_/runtime/default.py",
]
fusion = dict(type="OddOneOutFusion", gate=None)
aggregator = dict(type="ConsensusAggregator", gate=dict(attribution_threshold=3.0))
model = dict(fusion=fusion, aggregator=aggregator, branch_head={{_base_.bbox_head}})
load_from = "work_dirs/synthetic_concat/epoch_10.pth"
