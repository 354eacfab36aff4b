"""Robust fusion layer, clean training."""

_base_ = "concat.py"
model = dict(fusion=dict(type="OddOneOutFusion"))
