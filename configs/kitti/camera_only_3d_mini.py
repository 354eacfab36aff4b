"""The camera alone, KITTI at half size, boxes in metres, fine-tuned."""

_base_ = "concat_3d_mini.py"
model = dict(
    branches=dict(_delete_=True, camera={{_base_.model.branches.camera}}),
    fusion=None,
)
load_from = None
