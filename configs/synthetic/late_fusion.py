"""Late fusion: each sensor detects by itself, boxes are kept that two of three see."""

_base_ = "concat.py"
max_epochs = 4
model = dict(
    type="LateFusionDetector",
    votes=2,
    fusion=dict(type=None),
    aggregator=dict(type="MedianAggregator"),
    branch_head={{_base_.bbox_head}},
)
load_from = "data/zoo/consensus.safetensors"
