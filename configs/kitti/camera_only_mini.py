"""The camera alone, KITTI at half size, fine-tuned."""

_base_ = "concat_mini.py"
model = dict(
    branches=dict(_delete_=True, camera={{_base_.model.branches.camera}}),
    fusion=None,
)
