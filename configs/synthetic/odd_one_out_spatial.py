"""Ablation: the paper's layer with a gate per location, from the same clean weights."""

_base_ = "odd_one_out_robust.py"
model = dict(fusion=dict(gate="spatial"))
