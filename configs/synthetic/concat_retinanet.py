"""Plain fusion by concatenation with an anchor-based head, clean training."""

_base_ = [
    "../_base_/datasets/kitti_layout.py",
    "../_base_/models/retinanet_small.py",
    "../_base_/schedules/small.py",
    "../_base_/runtime/default.py",
]
