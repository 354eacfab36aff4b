"""Ten epochs for a small detector from random weights: minutes on two CPU cores.

`max_epochs` fills in the length of the training and of its schedules: one option, or one
line in a config that builds on this one, changes them all.
"""

max_epochs = 10
train_cfg = dict(type="EpochBasedTrainLoop", val_interval=2)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=2e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=100),
    dict(
        type="CosineAnnealingLR",
        eta_min_ratio=0.01,
        begin=0,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
