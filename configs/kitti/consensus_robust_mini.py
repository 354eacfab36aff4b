"""KITTI at half size: consensus of sensors and experts, adversarial training."""

_base_ = "concat_at_mini.py"
gate = dict(attribution_threshold=3.0, momentum=1e-3, loss_weight=0.5)
model = dict(
    fusion=dict(type="OddOneOutFusion", gate=None),
    aggregator=dict(type="ConsensusAggregator", gate=gate),
    branch_head={{_base_.bbox_head}},
)
variation = dict(goals=("detection", "detection|parts", "detection|none*0.3"))
train_cfg = dict(variation=variation, attacks=dict(camera=dict(weight=1.5)))
load_from = "data/zoo/consensus_robust.safetensors"
