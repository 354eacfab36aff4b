"""consensus.py with one tower per sensor, run once: a quarter of its extra time.

Not trained to the end yet, so that no AP is known.
"""

_base_ = [
    "../_base_/datasets/kitti_layout.py",
    "../_base_/models/fcos_small_towers.py",
    "../_base_/schedules/long.py",
    "../_base_/runtime/default.py",
]
fusion = dict(type="OddOneOutFusion", gate=None)
aggregator = dict(type="ConsensusAggregator", gate=dict(attribution_threshold=3.0))
model = dict(fusion=fusion, aggregator=aggregator, branch_head={{_base_.bbox_head}})
load_from = "data/zoo/concat.safetensors"
