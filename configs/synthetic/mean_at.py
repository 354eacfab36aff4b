"""Plain fusion by averaging with single-source adversarial training: a baseline."""

_base_ = "concat_at.py"
model = dict(fusion=dict(type="MeanFusion"))
load_from = "work_dirs/synthetic_mean/epoch_10.pth"
