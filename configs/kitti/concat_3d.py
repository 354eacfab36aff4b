"""KITTI at full size, plain fusion, boxes in metres."""

_base_ = [
    "../_base_/datasets/kitti_full_3d.py",
    "../_base_/models/fcos_r18_3d.py",
    "../_base_/schedules/gpu.py",
    "../_base_/runtime/default.py",
]
