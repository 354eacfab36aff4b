"""camera_lidar.py with boxes in metres, from the weights of concat_3d."""

_base_ = "concat_3d.py"
model = dict(
    branches=dict(
        _delete_=True,
        camera={{_base_.model.branches.camera}},
        lidar={{_base_.model.branches.lidar}},
    ),
)
max_epochs = 6
load_from = "data/zoo/concat_3d.safetensors"
