"""Robust fusion layer with one gate per frame, clean training."""

_base_ = "concat.py"
model = dict(fusion=dict(type="OddOneOutFusion"))
