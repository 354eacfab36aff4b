"""concat.py with boxes in metres: only the layers for these are trained."""

_base_ = [
    "../_base_/datasets/kitti_layout_3d.py",
    "../_base_/models/fcos_small_3d.py",
    "../_base_/schedules/metric.py",
    "../_base_/runtime/default.py",
]
train_dataloader = dict(batch_size=2)
model = dict(freeze_2d=True)
load_from = "data/zoo/concat.safetensors"
