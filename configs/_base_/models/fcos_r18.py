"""ResNet-18 branches with FPN, fused by concatenation, FCOS head; for a GPU.

Branches start at random. From ImageNet weights, torchvision's or of a file:
model.branches.camera.backbone.init_cfg="dict(type='ImageNet', checkpoint='resnet18')",
likewise for lidar and depth; the first layer is adapted to their channels.
"""

_base_ = "fcos_small.py"

channels = 128
backbone = dict(
    num_stages=4,
    strides=(1, 2, 2, 2),
    dilations=(1, 1, 1, 1),
    out_indices=(0, 1, 2, 3),
    base_channels=64,
    stem_channels=64,
)
neck = dict(in_channels=[64, 128, 256, 512], out_channels=channels, num_outs=5)

model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    branches=dict(
        camera=dict(backbone=backbone, neck=neck),
        lidar=dict(backbone=backbone, neck=neck),
        depth=dict(backbone=backbone, neck=neck),
    ),
    fusion=dict(in_channels=channels, num_levels=5, out_channels=channels),
    bbox_head=dict(
        in_channels=channels,
        feat_channels=channels,
        stacked_convs=4,
        strides=[4, 8, 16, 32, 64],
        regress_ranges=((-1, 32), (32, 64), (64, 128), (128, 256), (256, 1e8)),
        norm_cfg=dict(num_groups=32),
    ),
    test_cfg=dict(nms_pre=1000, max_per_img=100),
)
