"""KITTI at full size, plain fusion by concatenation, clean training."""

_base_ = [
    "../_base_/datasets/kitti_full.py",
    "../_base_/models/fcos_r18.py",
    "../_base_/schedules/gpu.py",
    "../_base_/runtime/default.py",
]
