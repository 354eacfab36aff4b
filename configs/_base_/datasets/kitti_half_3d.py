"""kitti_half.py without zoom, for boxes in metres; see kitti_layout_3d.py."""

_base_ = "kitti_half.py"

resize = dict(type="ResizeFrame")
train_pipeline = [
    resize,
    dict(type="RandomAffineFrame", scale=(1.0, 1.0), shift=0.08, flip_prob=0.5),
    dict(type="RandomColour", sensor="camera"),
    dict(type="PackFrame", min_size_px=4.0),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
