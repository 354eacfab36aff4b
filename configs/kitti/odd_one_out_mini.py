"""Robust fusion layer with one gate per frame, KITTI at half size, fine-tuned."""

_base_ = "concat_mini.py"
model = dict(fusion=dict(type="OddOneOutFusion"))
