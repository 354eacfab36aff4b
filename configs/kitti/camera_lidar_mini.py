"""KITTI at half size, fine-tuned: camera and LiDAR, for recordings without depth.

Two sensors that disagree do not tell which is compromised: plain fusion.
"""

_base_ = "concat_mini.py"
model = dict(
    branches=dict(
        _delete_=True,
        camera={{_base_.model.branches.camera}},
        lidar={{_base_.model.branches.lidar}},
    ),
)
load_from = "data/zoo/camera_lidar.safetensors"
