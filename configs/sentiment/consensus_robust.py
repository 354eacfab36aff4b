"""Consensus of sensors and experts with adversarial training: ours."""

_base_ = "concat_at.py"
gate = dict(attribution_threshold=4.0, momentum=1e-3, loss_weight=0.5)
model = dict(
    fusion=dict(type="OddOneOutFusion", gate=None),
    aggregator=dict(type="ConsensusAggregator", gate=gate),
)
variation = dict(goals=("detection", "detection|parts", "detection|none*0.3"))
train_cfg = dict(variation=variation)
load_from = "work_dirs/sentiment_consensus/epoch_8.pth"
