"""nuScenes below `data_root`: pictures of six cameras, seen by the detector at 320x176.

`data_root` fills in the root of every data loader, `input_size` every `ResizeFrame`'s. LiDAR is the sample's own sweep;
radar merges five sweeps of the radars that look the camera's way.
"""

data_root = "data/nuscenes"
version = "v1.0-trainval"
input_size = (320, 176)
cameras = [
    *("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT"),
    *("CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT"),
]
classes = (
    *("car", "truck", "bus", "trailer", "construction_vehicle"),
    *("pedestrian", "motorcycle", "bicycle", "traffic_cone", "barrier"),
)
frames = dict(type="NuScenesFrames", version=version, cameras=cameras)
dataset = dict(type="FrameDataset", classes=classes)
resize = dict(type="ResizeFrame")
train_pipeline = [
    resize,
    dict(type="RandomAffineFrame", scale=(0.9, 1.2), shift=0.08, flip_prob=0.5),
    dict(type="RandomColour", sensor="camera"),
    dict(type="PackFrame", min_size_px=3.0),
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
# What has to be found: smallest height in pixels of the picture, largest occlusion and
# truncation, distance in metres. A detection has no distance: a false one counts in
# every band.
bands = [
    ("near", 12, 2, 0.5, (0.0, 20.0)),
    ("middle", 12, 2, 0.5, (20.0, 40.0)),
    ("far", 12, 2, 0.5, (40.0, 80.0)),
    ("all", 12, 2, 0.5),
]
val_evaluator = [
    dict(
        type="KittiMetric",
        overlaps={name: 0.5 for name in classes},
        difficulties=bands,
        headline="all",
    ),
    dict(type="FrameCocoMetric"),
]
test_evaluator = val_evaluator
