"""The lidar alone, clean training."""

_base_ = "concat.py"
model = dict(
    branches=dict(_delete_=True, lidar={{_base_.model.branches.lidar}}),
    fusion=None,
)
