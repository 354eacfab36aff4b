"""Robust fusion layer kept near the median of what each sensor alone predicts.

At test time model.fusion.margin=0 gives the median itself; see MedianFusion.
"""

_base_ = "concat.py"
model = dict(
    fusion=dict(
        type="MedianFusion",
        margin=2.0,
        box_margin=0.25,
        fused=dict(type="OddOneOutFusion", gate="spatial"),
    ),
    view_head={{_base_.view_head}},
)
