"""Agreement gate and experts, adversarial training; the attacker knows the gate."""

_base_ = "concat_at.py"
gate = dict(attribution_threshold=3.0, alarm_threshold=1.5)
gate.update(momentum=1e-3, loss_weight=1.0)
model = dict(
    fusion=dict(type="OddOneOutFusion", gate=None),
    aggregator=dict(type="MedianAggregator", gate=gate, margin=1.0, box_margin=0.25),
    branch_head={{_base_.bbox_head}},
)
variation = dict(goals=("detection", "detection|none*0.1", "detection|none*1"))
train_cfg = dict(variation=variation, attacks=dict(camera=dict(weight=2.0)))
load_from = "work_dirs/synthetic_agreement/epoch_10.pth"
