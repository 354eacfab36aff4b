"""Two epochs for what boxes in metres add to a trained detector, the rest frozen."""

_base_ = "small.py"

max_epochs = 2
train_cfg = dict(val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=6e-3))
param_scheduler = [
    dict(_base_.param_scheduler[0], end=50),
    _base_.param_scheduler[1],
]
