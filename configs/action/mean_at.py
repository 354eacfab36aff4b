"""Averaging, with single-source adversarial training."""

_base_ = "concat_at.py"
model = dict(fusion=dict(type="MeanFusion"))
load_from = "work_dirs/action_mean/epoch_40.pth"
