"""The small detector with nuScenes' sensors, camera, lidar and radar, and ten classes.

Radar measures no height: its returns are drawn from the road (the radars hang 0.5 m
above it) to 2 m.
"""

_base_ = "fcos_small.py"

num_classes = 10
radar = dict(
    kind="points",
    columns=("x", "y", "z", "velocity_mps", "rcs_dbsm"),
    channels=[
        ("depth_m", "m", 0.0, 100.0),
        ("velocity_mps", "m/s", -30.0, 30.0),
        ("rcs_dbsm", "dB m²", -20.0, 50.0),
    ],
    pillar_m=(-0.5, 1.5),
)
sensors = dict(radar=radar)
bbox_head = dict(num_classes=num_classes)
branch_head = dict(num_classes=num_classes)
model = dict(
    data_preprocessor=dict(
        sensors=dict(
            _delete_=True,
            camera=_base_.sensors.camera,
            lidar=_base_.sensors.lidar,
            radar=radar,
        )
    ),
    branches=dict(
        _delete_=True,
        camera=_base_.model.branches.camera,
        # A LiDAR of 32 beams leaves most pixels empty.
        lidar=dict(
            type="SensorBranch",
            mean=[0.7, 0.0, 0.0],
            std=[4.0, 0.5, 0.06],
            backbone=dict(**_base_.backbone, in_channels=3),
            neck=_base_.neck,
        ),
        radar=dict(
            type="SensorBranch",
            mean=[0.6, 0.0, 0.2],
            std=[3.0, 0.7, 2.2],
            backbone=dict(**_base_.backbone, in_channels=3),
            neck=_base_.neck,
        ),
    ),
    bbox_head=bbox_head,
)
