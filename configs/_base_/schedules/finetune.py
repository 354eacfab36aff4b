"""Fine-tuning of a trained detector on few frames: twelve epochs."""

_base_ = "small.py"

max_epochs = 12
train_cfg = dict(val_interval=4)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(_base_.param_scheduler[0], end=50),
    _base_.param_scheduler[1],
]
