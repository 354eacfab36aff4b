"""KITTI at full size: camera and LiDAR, for recordings without depth.

Two sensors that disagree do not tell which is compromised: plain fusion.
"""

_base_ = "concat.py"
model = dict(
    branches=dict(
        _delete_=True,
        camera={{_base_.model.branches.camera}},
        lidar={{_base_.model.branches.lidar}},
    ),
)
