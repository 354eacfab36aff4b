"""Synthetic drives in nuScenes' format, plain fusion, boxes in metres."""

_base_ = "concat_3d.py"
data_root = "data/nuscenes_synthetic"
classes = ("car", "pedestrian", "bicycle")
