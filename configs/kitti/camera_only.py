"""The camera alone, KITTI at full size."""

_base_ = "concat.py"
model = dict(
    branches=dict(_delete_=True, camera={{_base_.model.branches.camera}}),
    fusion=None,
)
