"""Three small branches fused by concatenation, FCOS head; 0.7 M weights in all."""

_base_ = "../sensors/kitti.py"

num_classes = 3
channels = 32
norm = dict(type="BN", requires_grad=True)
backbone = dict(
    type="ResNet",
    depth=18,
    num_stages=3,
    strides=(1, 2, 2),
    dilations=(1, 1, 1),
    out_indices=(0, 1, 2),
    base_channels=16,
    stem_channels=16,
    norm_cfg=norm,
    norm_eval=False,
)
neck = dict(type="FPN", in_channels=[16, 32, 64], out_channels=channels, num_outs=3)

bbox_head = dict(
    type="FCOSHead",
    num_classes=num_classes,
    in_channels=channels,
    feat_channels=channels,
    stacked_convs=2,
    strides=[4, 8, 16],
    regress_ranges=((-1, 24), (24, 48), (48, 1e8)),
    center_sampling=True,
    norm_on_bbox=True,
    centerness_on_reg=True,
    conv_bias=True,
    norm_cfg=dict(type="GN", num_groups=8, requires_grad=True),
    loss_cls=dict(
        type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0
    ),
    loss_bbox=dict(type="GIoULoss", loss_weight=1.0),
    loss_centerness=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
)
# For aggregators, which have each sensor detect by itself: half as wide and deep.
branch_head = dict(**bbox_head)
branch_head.update(stacked_convs=1, feat_channels=channels // 2)

model = dict(
    type="MultiModalDetector",
    data_preprocessor=dict(
        type="MultiModalPreprocessor",
        sensors={{_base_.sensors}},
        pad_size_divisor=16,
    ),
    branches=dict(
        camera=dict(
            type="SensorBranch",
            mean=[110.0, 110.0, 110.0],
            std=[60.0, 60.0, 60.0],
            backbone=dict(**backbone, in_channels=3),
            neck=neck,
        ),
        lidar=dict(
            type="SensorBranch",
            mean=[8.0, -0.5, 0.1],
            std=[12.0, 1.0, 0.2],
            backbone=dict(**backbone, in_channels=3),
            neck=neck,
        ),
        depth=dict(
            type="SensorBranch",
            mean=[15.0],
            std=[15.0],
            backbone=dict(**backbone, in_channels=1),
            neck=neck,
        ),
    ),
    fusion=dict(
        type="ConcatFusion", in_channels=channels, num_levels=3, out_channels=channels
    ),
    bbox_head=bbox_head,
    test_cfg=dict(
        nms_pre=300,
        score_thr=0.02,
        nms=dict(type="nms", iou_threshold=0.5),
        max_per_img=50,
    ),
)
