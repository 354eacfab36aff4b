"""Thirty epochs from random weights: half a minute on one CPU core."""

_base_ = "small.py"
max_epochs = 30
train_cfg = dict(val_interval=30)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [dict(_base_.param_scheduler[0], end=20), _base_.param_scheduler[1]]
