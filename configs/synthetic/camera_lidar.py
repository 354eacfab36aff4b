"""Camera and LiDAR, for recordings without depth; six epochs from concat's weights.

Two sensors that disagree do not tell which of them is compromised: plain fusion.
"""

_base_ = "concat.py"
model = dict(
    branches=dict(
        _delete_=True,
        camera={{_base_.model.branches.camera}},
        lidar={{_base_.model.branches.lidar}},
    ),
)
max_epochs = 6
load_from = "data/zoo/concat.safetensors"
