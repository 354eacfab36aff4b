"""The lidar alone, KITTI at full size."""

_base_ = "concat.py"
model = dict(
    branches=dict(_delete_=True, lidar={{_base_.model.branches.lidar}}),
    fusion=None,
)
