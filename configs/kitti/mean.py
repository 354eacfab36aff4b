"""Plain fusion by averaging, KITTI at full size."""

_base_ = "concat.py"
model = dict(fusion=dict(type="MeanFusion"))
