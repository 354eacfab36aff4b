"""Synthetic drives in nuScenes' format: what sensors and experts agree on."""

_base_ = "synthetic_concat.py"
fusion = dict(type="ConsensusFusion", blame_at=3.0)
model = dict(fusion=fusion, view_head={{_base_.model.bbox_head}})
load_from = "work_dirs/nuscenes_synthetic_concat/epoch_6.pth"
