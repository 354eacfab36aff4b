"""Plain fusion by concatenation, clean training."""

_base_ = [
    "../_base_/datasets/utd_mhad.py",
    "../_base_/models/action.py",
    "../_base_/schedules/classify.py",
    "../_base_/runtime/classify.py",
]
