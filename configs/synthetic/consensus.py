"""What sensors and experts agree on, trained for the worst that one sensor can do.

No attack is needed for that, see ConsensusFusion. Twenty epochs, from concat's weights.
"""

_base_ = [
    "../_base_/datasets/kitti_layout.py",
    "../_base_/models/fcos_small.py",
    "../_base_/schedules/long.py",
    "../_base_/runtime/default.py",
]
fusion = dict(type="ConsensusFusion", blame_at=3.0)
model = dict(fusion=fusion, view_head={{_base_.bbox_head}})
load_from = "work_dirs/synthetic_concat/epoch_10.pth"
