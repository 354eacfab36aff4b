"""The median of the sensors' own predictions, with single-source adversarial training.

The gate sees the same attacks and tells which sensor to trust; it moves no detection.
"""

_base_ = "concat_at.py"
model = dict(
    fusion=dict(type="OddOneOutFusion", gate="spatial"),
    aggregator=dict(type="MedianAggregator"),
    branch_head={{_base_.branch_head}},
)
variation = dict(goals=("detection", "detection|branch", "detection|none*1"))
train_cfg = dict(variation=variation)
load_from = "work_dirs/synthetic_median/epoch_10.pth"
