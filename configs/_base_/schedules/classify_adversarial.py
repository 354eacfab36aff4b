"""Single-source adversarial training of a classifier from clean weights.

Budgets are 16/255 of each channel's range, those of configs/_base_/attacks/action.py.
"""

_base_ = ["classify.py", "variation.py"]

max_epochs = 40
part = 16.0 / 255
threat = dict(type="MapThreat")
training_attacks = dict(
    depth=dict(type="PGD", threat=dict(threat, sensor="depth", eps=4000 * part)),
    accel=dict(type="PGD", threat=dict(threat, sensor="accel", eps=16 * part)),
    gyro=dict(type="PGD", threat=dict(threat, sensor="gyro", eps=2000 * part)),
)
train_cfg = dict(
    type="AdversarialTrainLoop",
    attacks=training_attacks,
    variation={{_base_.variation}},
    val_interval=40,
    warmup_iters=30,
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
