"""Three small branches, one for each sensor of a clip, and a linear head."""

_base_ = "../sensors/utd_mhad.py"

channels = 64
video = (8, 15, 20)
signal = dict(type="SignalBackbone", in_channels=3, out_channels=channels)
head = dict(type="LinearHead", num_classes=27, in_channels=channels)
model = dict(
    type="MultiModalClassifier",
    data_preprocessor=dict(
        type="MultiModalPreprocessor", sensors={{_base_.sensors}}, pad_size_divisor=1
    ),
    branches=dict(
        depth=dict(
            type="SensorBranch",
            mean=[200.0],
            std=[700.0],
            backbone=dict(
                type="VideoBackbone",
                frames=video[0],
                picture=video[1:],
                out_channels=channels,
                widths=(16, 24),
            ),
        ),
        accel=dict(
            type="SensorBranch",
            mean=[-0.65, -0.3, 0.0],
            std=[0.75, 0.53, 0.56],
            backbone=signal,
        ),
        gyro=dict(
            type="SensorBranch",
            mean=[0.0, 0.0, 0.0],
            std=[100.0, 113.0, 124.0],
            backbone=signal,
        ),
    ),
    fusion=dict(type="ConcatFusion", in_channels=channels, out_channels=channels),
    head=head,
)
