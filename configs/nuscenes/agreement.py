"""nuScenes: the sensor whose own predictions leave the majority is left out."""

_base_ = "concat.py"
model = dict(
    fusion=dict(type="OddOneOutFusion", gate=None),
    aggregator=dict(type="MedianAggregator", gate=dict(), margin=3.0, box_margin=0.25),
    branch_head={{_base_.model.bbox_head}},
)
