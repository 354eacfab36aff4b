"""Six epochs for what boxes in metres add to a trained detector, the rest frozen."""

_base_ = "small.py"

max_epochs = 6
train_cfg = dict(val_interval=max_epochs)
