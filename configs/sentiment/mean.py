"""Plain fusion by averaging, clean training."""

_base_ = "concat.py"
model = dict(fusion=dict(type="MeanFusion"))
