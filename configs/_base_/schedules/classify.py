"""Forty epochs from random weights: a minute on one CPU core."""

_base_ = "small.py"
max_epochs = 40
train_cfg = dict(val_interval=40)
