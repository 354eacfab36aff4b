"""Eight epochs from random weights: seconds."""

_base_ = "small.py"
max_epochs = 8
train_cfg = dict(val_interval=8)
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=5e-2))
param_scheduler = [dict(_base_.param_scheduler[0], end=20), _base_.param_scheduler[1]]
