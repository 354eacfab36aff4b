"""KITTI seen at 640x192, half its size: what a CPU can train on."""

_base_ = "kitti_layout.py"

data_root = "data/kitti"
input_size = (640, 192)
resize = dict(type="ResizeFrame")
train_pipeline = [
    resize,
    dict(type="RandomAffineFrame", scale=(0.9, 1.2), shift=0.08, flip_prob=0.5),
    dict(type="RandomColour", sensor="camera"),
    dict(type="PackFrame", min_size_px=4.0),
]
test_pipeline = [resize, dict(type="PackFrame")]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
