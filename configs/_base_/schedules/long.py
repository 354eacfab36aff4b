"""Twenty epochs, scored every five."""

_base_ = "small.py"

max_epochs = 20
train_cfg = dict(val_interval=5)
