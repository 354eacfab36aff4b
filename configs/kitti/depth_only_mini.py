"""The depth alone, KITTI at half size, fine-tuned."""

_base_ = "concat_mini.py"
model = dict(
    branches=dict(_delete_=True, depth={{_base_.model.branches.depth}}),
    fusion=None,
)
