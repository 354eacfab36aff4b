"""Frames in KITTI's layout below `data_root`, seen by the detector at 320x96.

`data_root` fills in the root of every data loader and `input_size` the size of every
`ResizeFrame`, so one option each changes them all.
"""

data_root = "data/synthetic"
input_size = (320, 96)
dataset = dict(
    type="FrameDataset",
    classes=("Car", "Pedestrian", "Cyclist"),
    also_train_as=dict(Van="Car"),
)
frames = dict(type="KittiFrames", optional_sensors=("depth",))
resize = dict(type="ResizeFrame")
train_pipeline = [
    resize,
    dict(type="RandomAffineFrame", scale=(0.9, 1.2), shift=0.08, flip_prob=0.5),
    dict(type="RandomColour", sensor="camera"),
    dict(type="PackFrame"),
]
test_pipeline = [resize, dict(type="PackFrame")]

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    collate_fn=dict(type="collate_frames"),
    sampler=dict(type="EpochSampler", shuffle=True),
    dataset=dict(
        **dataset, frames=dict(**frames, split="train"), pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    collate_fn=dict(type="collate_frames"),
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
    dataset=dict(**dataset, frames=dict(**frames, split="val"), pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type="KittiMetric", overlaps=dict(Car=0.5, Pedestrian=0.5, Cyclist=0.5)
)
test_evaluator = val_evaluator
