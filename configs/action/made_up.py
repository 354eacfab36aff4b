"""Plain fusion on made-up clips of four motions: a first try without any data."""

_base_ = "concat.py"
data_root, max_epochs = None, 10
classes = ("left", "right", "up", "down")
frames = dict(_delete_=True, type="MadeUpFrames", video=(8, 15, 20), moments=64)
train_dataloader = dict(batch_size=16, dataset=dict(frames=dict(**frames)))
val_dataloader = dict(dataset=dict(frames=dict(**frames, split="test")))
test_dataloader = val_dataloader
train_cfg = dict(val_interval=10)
