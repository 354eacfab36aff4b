"""Synthetic drives in nuScenes' format (create_data.py synthetic --layout nuscenes)."""

_base_ = "nuscenes.py"

data_root = "data/nuscenes_synthetic"
classes = ("car", "pedestrian", "bicycle")
train_dataloader = dict(dataset=dict(classes=classes))
val_dataloader = dict(dataset=dict(classes=classes))
test_dataloader = val_dataloader
val_evaluator = [
    dict(
        type="KittiMetric",
        overlaps={name: 0.5 for name in classes},
        difficulties={{_base_.bands}},
        headline="all",
    ),
    dict(type="FrameCocoMetric"),
]
test_evaluator = val_evaluator
