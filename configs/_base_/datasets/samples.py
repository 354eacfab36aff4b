"""Loaders of samples that are classified as a whole; a data set adds its own."""

train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type="collate_frames"),
    sampler=dict(type="EpochSampler", shuffle=True),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type="collate_frames"),
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="AccuracyMetric")
test_evaluator = val_evaluator
