"""KITTI at half size: the sensor that disagrees with the majority is left out."""

_base_ = "concat_mini.py"
model = dict(
    fusion=dict(type="OddOneOutFusion", gate=None),
    aggregator=dict(type="MedianAggregator", gate=dict(), margin=1.0, box_margin=0.25),
    branch_head={{_base_.model.bbox_head}},
)
