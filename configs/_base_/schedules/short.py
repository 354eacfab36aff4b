"""Six epochs from random weights, for larger inputs on a CPU; scored at the end."""

_base_ = "small.py"

max_epochs = 6
train_cfg = dict(val_interval=max_epochs)
