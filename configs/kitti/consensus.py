"""KITTI at full size: what sensors and experts agree on, from concat's weights."""

_base_ = "concat.py"
fusion = dict(type="ConsensusFusion", blame_at=3.0)
model = dict(fusion=fusion, view_head={{_base_.model.bbox_head}})
load_from = "work_dirs/kitti_concat/epoch_40.pth"
