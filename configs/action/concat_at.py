"""Plain fusion with single-source adversarial training."""

_base_ = [
    "../_base_/datasets/utd_mhad.py",
    "../_base_/models/action.py",
    "../_base_/schedules/classify_adversarial.py",
    "../_base_/runtime/classify.py",
]
load_from = "work_dirs/action_concat/epoch_40.pth"
