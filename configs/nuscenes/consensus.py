"""nuScenes: what sensors and experts agree on, from the weights of concat."""

_base_ = "concat.py"
fusion = dict(type="ConsensusFusion", blame_at=3.0)
model = dict(fusion=fusion, view_head={{_base_.model.bbox_head}})
load_from = "work_dirs/nuscenes_concat/epoch_10.pth"
