"""Forty epochs at batch size 8 on one GPU."""

_base_ = "small.py"

max_epochs = 40
train_cfg = dict(val_interval=2)
optim_wrapper = dict(optimizer=dict(lr=4e-4))
param_scheduler = [
    dict(_base_.param_scheduler[0], start_factor=0.01, end=500),
    _base_.param_scheduler[1],
]
