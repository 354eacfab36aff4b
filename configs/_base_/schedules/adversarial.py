"""Single-source adversarial training from clean weights: four epochs of varied PGD.

Budgets are 16/255 of each channel's range, those of configs/_base_/attacks/standard.py.
"""

_base_ = ["small.py", "variation.py"]

max_epochs = 4
part = 16.0 / 255
lidar_eps = dict(depth_m=80 * part, height_m=6 * part, reflectance=part)
training_attacks = dict(
    camera=dict(type="PGD", threat=dict(type="MapThreat", sensor="camera", eps=16.0)),
    lidar=dict(
        type="PGD",
        threat=dict(type="MapThreat", sensor="lidar", eps=lidar_eps),
        weight=2.0,  # the sensor that this data's detectors lean on most
    ),
    depth=dict(
        type="PGD", threat=dict(type="MapThreat", sensor="depth", eps=80 * part)
    ),
)
train_cfg = dict(
    type="AdversarialTrainLoop",
    val_interval=2,
    attacks=training_attacks,
    variation={{_base_.variation}},
    warmup_iters=100,
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(_base_.param_scheduler[0], end=50),
    _base_.param_scheduler[1],
]
