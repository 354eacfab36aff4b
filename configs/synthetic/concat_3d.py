"""concat.py with boxes in metres, from its weights: only the metric layers are new."""

_base_ = [
    "../_base_/datasets/kitti_layout_3d.py",
    "../_base_/models/fcos_small_3d.py",
    "../_base_/schedules/small.py",
    "../_base_/runtime/default.py",
]
load_from = "data/zoo/concat.safetensors"
