"""Synthetic drives in nuScenes' format: who disagrees with the majority is left out."""

_base_ = "synthetic_concat.py"
model = dict(
    fusion=dict(type="AgreementFusion", margin=3.0, box_margin=0.25),
    view_head={{_base_.model.bbox_head}},
)
