"""CMU-MOSI, one .npz file of utterance features, by the split that they allow."""

_base_ = "samples.py"

data_root = "data/mosi/mosi.npz"
dataset = dict(type="FrameDataset", classes=("negative", "positive"))
frames = dict(type="MosiFrames")
train_dataloader = dict(
    batch_size=64,
    dataset=dict(
        **dataset,
        frames=dict(**frames, split="train"),
        pipeline=[dict(type="PackFrame")],
    ),
)
val_dataloader = dict(
    dataset=dict(
        **dataset,
        frames=dict(**frames, split="test"),
        pipeline=[dict(type="PackFrame")],
    ),
)
test_dataloader = val_dataloader
