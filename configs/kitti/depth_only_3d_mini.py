"""The depth alone, KITTI at half size, boxes in metres, fine-tuned."""

_base_ = "concat_3d_mini.py"
model = dict(
    branches=dict(_delete_=True, depth={{_base_.model.branches.depth}}),
    fusion=None,
)
load_from = None
