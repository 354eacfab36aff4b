"""KITTI at half size: plain fusion with single-source adversarial training."""

_base_ = [
    "../_base_/datasets/kitti_half.py",
    "../_base_/models/fcos_small.py",
    "../_base_/schedules/adversarial.py",
    "../_base_/runtime/default.py",
]
load_from = "data/zoo/concat_at.safetensors"
