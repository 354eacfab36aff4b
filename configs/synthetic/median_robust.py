"""Robust fusion layer near the median, with single-source adversarial training."""

_base_ = "concat_at.py"
model = dict(
    fusion=dict(
        type="MedianFusion",
        margin=1.0,
        box_margin=0.25,
        fused=dict(type="OddOneOutFusion", gate="spatial"),
    ),
    view_head={{_base_.view_head}},
)
load_from = "work_dirs/synthetic_median/epoch_10.pth"
