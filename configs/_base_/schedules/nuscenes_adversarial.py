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
    max_epochs=max_epochs,
    val_interval=max_epochs,
    attacks=training_attacks,
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs,
        eta_min_ratio=0.01,
        begin=0,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
