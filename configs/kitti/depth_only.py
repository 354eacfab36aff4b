"""The depth alone, KITTI at full size."""

_base_ = "concat.py"
model = dict(
    branches=dict(_delete_=True, depth={{_base_.model.branches.depth}}),
    fusion=None,
)
