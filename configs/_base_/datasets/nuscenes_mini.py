"""The mini set of nuScenes: eight scenes to train on, two to validate."""

_base_ = "nuscenes.py"

frames = dict(version="v1.0-mini")
train_dataloader = dict(
    dataset=dict(frames=dict(version="v1.0-mini", split="mini_train"))
)
val_dataloader = dict(dataset=dict(frames=dict(version="v1.0-mini", split="mini_val")))
test_dataloader = val_dataloader
