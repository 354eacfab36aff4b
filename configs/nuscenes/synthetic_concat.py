"""Synthetic drives in nuScenes' format, small detector, six epochs: plain fusion."""

_base_ = [
    "../_base_/datasets/nuscenes_synthetic.py",
    "../_base_/models/nuscenes_small.py",
    "../_base_/schedules/short.py",
    "../_base_/runtime/default.py",
]
model = dict(bbox_head=dict(num_classes=3))
branch_head = dict(num_classes=3)
