"""Plain fusion by concatenation, clean training."""

_base_ = [
    "../_base_/datasets/kitti_layout.py",
    "../_base_/models/fcos_small.py",
    "../_base_/schedules/small.py",
    "../_base_/runtime/default.py",
]
