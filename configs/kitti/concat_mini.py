"""KITTI at half size, plain fusion, fine-tuned from weights of synthetic frames."""

_base_ = [
    "../_base_/datasets/kitti_half.py",
    "../_base_/models/fcos_small.py",
    "../_base_/schedules/finetune.py",
    "../_base_/runtime/default.py",
]
