"""nuScenes, small detector: robust fusion layer with one gate per frame."""

_base_ = "concat.py"
model = dict(fusion=dict(type="OddOneOutFusion"))
