"""CMU-MOSI, one .npz file of utterance features, by the split that they allow."""

data_root = "data/mosi/mosi.npz"
dataset = dict(type="FrameDataset", classes=("negative", "positive"))
frames = dict(type="MosiFrames")
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type="collate_frames"),
    sampler=dict(type="EpochSampler", shuffle=True),
    dataset=dict(
        **dataset,
        frames=dict(**frames, split="train"),
        pipeline=[dict(type="PackFrame")],
    ),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type="collate_frames"),
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
    dataset=dict(
        **dataset,
        frames=dict(**frames, split="test"),
        pipeline=[dict(type="PackFrame")],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="AccuracyMetric")
test_evaluator = val_evaluator
