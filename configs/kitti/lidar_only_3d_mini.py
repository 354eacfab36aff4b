"""The lidar alone, KITTI at half size, boxes in metres, fine-tuned."""

_base_ = "concat_3d_mini.py"
model = dict(
    branches=dict(_delete_=True, lidar={{_base_.model.branches.lidar}}),
    fusion=None,
)
load_from = None
