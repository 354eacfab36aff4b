"""KITTI at its full size, for a GPU."""

_base_ = "kitti_half.py"

input_size = (1248, 384)
resize = dict(type="ResizeFrame")
train_pipeline = [
    resize,
    dict(type="RandomAffineFrame", scale=(0.8, 1.3), shift=0.1, flip_prob=0.5),
    dict(type="RandomColour", sensor="camera"),
    dict(type="PackFrame", min_size_px=8.0),
]
test_pipeline = [resize, dict(type="PackFrame")]
train_dataloader = dict(
    batch_size=8, num_workers=8, dataset=dict(pipeline=train_pipeline)
)
val_dataloader = dict(batch_size=8, num_workers=8, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
