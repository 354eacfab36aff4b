"""ResNet-18 branches with FPN, each with a tower; heads are a last layer only."""

_base_ = "fcos_r18.py"

channels = 128
tower = dict(
    type="ConvTower",
    in_channels=channels,
    channels=channels,
    num_convs=3,
    num_groups=32,
)
bbox_head = dict(_base_.model.bbox_head, _delete_=True, type="LastLayerFCOSHead")
for convolutions in ("stacked_convs", "feat_channels"):
    bbox_head.pop(convolutions)
model = dict(
    branches=dict(
        camera=dict(tower=tower), lidar=dict(tower=tower), depth=dict(tower=tower)
    ),
    bbox_head=bbox_head,
)
