"""The small detector with an anchor-based head: RetinaNet instead of FCOS.

Anchors are 8, 16 and 32 px times 2^0, 2^(1/3), 2^(2/3), so that they cover objects of
6 to 90 px at an input of 320x96; pedestrians are about 2.5 times as high as wide,
cars seen from the side about 2.5 times as wide as high.
"""

_base_ = "fcos_small.py"

model = dict(
    bbox_head=dict(
        _delete_=True,
        type="RetinaHead",
        num_classes={{_base_.num_classes}},
        in_channels={{_base_.channels}},
        feat_channels={{_base_.channels}},
        stacked_convs=2,
        norm_cfg=dict(type="GN", num_groups=8, requires_grad=True),
        anchor_generator=dict(
            type="AnchorGenerator",
            octave_base_scale=2,
            scales_per_octave=3,
            ratios=[0.4, 1.0, 2.5],
            strides=[4, 8, 16],
        ),
        bbox_coder=dict(
            type="DeltaXYWHBBoxCoder",
            target_means=[0.0, 0.0, 0.0, 0.0],
            target_stds=[1.0, 1.0, 1.0, 1.0],
        ),
        loss_cls=dict(
            type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0
        ),
        loss_bbox=dict(type="SmoothL1Loss", beta=0.11, loss_weight=1.0),
    ),
    train_cfg=dict(
        assigner=dict(
            type="MaxIoUAssigner",
            pos_iou_thr=0.5,
            neg_iou_thr=0.4,
            min_pos_iou=0.2,
            ignore_iof_thr=-1,
        ),
        sampler=dict(type="PseudoSampler"),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    ),
)
