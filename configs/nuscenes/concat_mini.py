"""nuScenes' mini set, small detector: plain fusion of camera, lidar and radar."""

_base_ = [
    "../_base_/datasets/nuscenes_mini.py",
    "../_base_/models/nuscenes_small.py",
    "../_base_/schedules/small.py",
    "../_base_/runtime/default.py",
]
