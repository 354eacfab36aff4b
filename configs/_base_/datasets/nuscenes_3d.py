"""nuscenes.py without zoom, for boxes in metres; scored by nuScenes' own program too.

That program wants whole samples: all six cameras of every sample of the split.
"""

_base_ = "nuscenes.py"

resize = dict(type="ResizeFrame")
train_pipeline = [
    resize,
    dict(type="RandomAffineFrame", scale=(1.0, 1.0), shift=0.08, flip_prob=0.5),
    dict(type="RandomColour", sensor="camera"),
    dict(type="PackFrame", min_size_px=3.0),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_evaluator = [*_base_.val_evaluator, dict(type="NuScenesMetric")]
