"""Three perceptrons, for text, voice and face, and a linear head."""

_base_ = "../sensors/mosi.py"

channels = 32
vector = dict(type="VectorBackbone", out_channels=channels, dropout=0.5)
branch = dict(type="SensorBranch", mean=[0.0], std=[1.0])
model = dict(
    type="MultiModalClassifier",
    data_preprocessor=dict(
        type="MultiModalPreprocessor", sensors={{_base_.sensors}}, pad_size_divisor=1
    ),
    branches=dict(
        text=dict(**branch, backbone=dict(**vector, in_channels=100)),
        audio=dict(**branch, backbone=dict(**vector, in_channels=73)),
        video=dict(**branch, backbone=dict(**vector, in_channels=100)),
    ),
    fusion=dict(type="ConcatFusion", in_channels=channels, out_channels=channels),
    head=dict(type="LinearHead", num_classes=2, in_channels=channels),
)
