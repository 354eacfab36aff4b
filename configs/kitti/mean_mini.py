"""Plain fusion by averaging, KITTI at half size, fine-tuned."""

_base_ = "concat_mini.py"
model = dict(fusion=dict(type="MeanFusion"))
