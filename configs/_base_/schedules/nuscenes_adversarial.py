"""adversarial.py for camera, LiDAR and radar, three epochs; budgets of nuscenes.py."""

_base_ = "adversarial.py"

max_epochs = 3
part = 16.0 / 255
radar_eps = dict(depth_m=100 * part, velocity_mps=60 * part, rcs_dbsm=70 * part)
training_attacks = dict(
    _delete_=True,
    camera={{_base_.training_attacks.camera}},
    lidar={{_base_.training_attacks.lidar}},
    radar=dict(
        type="PGD",
        threat=dict(type="MapThreat", sensor="radar", eps=radar_eps),
        weight=2.0,
    ),
)
train_cfg = dict(
    val_interval=max_epochs,
    attacks=training_attacks,
)
