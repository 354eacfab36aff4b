"""nuScenes, small detector: plain fusion, boxes in metres, scored by nuScenes' own."""

_base_ = [
    "../_base_/datasets/nuscenes_3d.py",
    "../_base_/models/nuscenes_small_3d.py",
    "../_base_/schedules/small.py",
    "../_base_/runtime/default.py",
]
