"""nuScenes: robust fusion layer kept near the median of what each sensor predicts."""

_base_ = "concat.py"
model = dict(
    fusion=dict(type="OddOneOutFusion", gate="spatial"),
    aggregator=dict(type="MedianAggregator", margin=2.0, box_margin=0.25),
    branch_head={{_base_.branch_head}},
)
