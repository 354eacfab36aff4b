"""Ablation: the paper's layer and training, without the odd-one-out loss."""

_base_ = "odd_one_out_robust.py"
model = dict(fusion=dict(loss_weight=0.0))
