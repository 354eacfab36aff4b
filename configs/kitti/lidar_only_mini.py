"""The lidar alone, KITTI at half size, fine-tuned."""

_base_ = "concat_mini.py"
model = dict(
    branches=dict(_delete_=True, lidar={{_base_.model.branches.lidar}}),
    fusion=None,
)
