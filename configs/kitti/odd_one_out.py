"""Robust fusion layer with one gate per frame, KITTI at full size."""

_base_ = "concat.py"
model = dict(fusion=dict(type="OddOneOutFusion"))
