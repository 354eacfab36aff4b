"""KITTI at half size, boxes in metres, fine-tuned from weights of synthetic frames."""

_base_ = [
    "../_base_/datasets/kitti_half_3d.py",
    "../_base_/models/fcos_kitti_3d.py",
    "../_base_/schedules/finetune.py",
    "../_base_/runtime/default.py",
]
load_from = "data/zoo/concat_3d.safetensors"
