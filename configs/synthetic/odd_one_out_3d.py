"""Robust fusion layer with one gate per frame, boxes in metres."""

_base_ = "concat_3d.py"
model = dict(fusion=dict(type="OddOneOutFusion"))
load_from = "data/zoo/concat_3d.safetensors"
