"""Plain fusion with single-source adversarial training, the baseline that matters."""

_base_ = [
    "../_base_/datasets/kitti_layout.py",
    "../_base_/models/fcos_small.py",
    "../_base_/schedules/adversarial.py",
    "../_base_/runtime/default.py",
]
load_from = "work_dirs/synthetic_concat/epoch_10.pth"
