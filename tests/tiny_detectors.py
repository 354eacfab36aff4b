"""Detectors of a few thousand weights, for sensors with names of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

import perception.models  # noqa: F401  registers what the configs name
from perception.models.heads.outputs import HeadOutputs

SPECS = {
    "thermal": dict(kind="image", channels=[("heat", "K", 0.0, 500.0)]),
    "radar": dict(
        kind="points",
        columns=("x", "y", "z", "speed"),
        channels=[("depth_m", "m", 0.0, 80.0), ("speed", "m/s", -50.0, 50.0)],
    ),
    "sonar": dict(kind="depth", channels=[("depth_m", "m", 0.0, 80.0)]),
    "eyes": dict(kind="image", channels=[(c, "grey levels", 0, 255) for c in "rgb"]),
}
NAMES = tuple(SPECS)
PROJECTION = torch.tensor(
    [[31.5, -40.0, 0.0, 0.0], [15.5, 0.0, -40.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
)
FCOS = dict(
    type="FCOSHead",
    num_classes=2,
    in_channels=8,
    feat_channels=8,
    stacked_convs=1,
    strides=[4, 8],
    regress_ranges=((-1, 16), (16, 1e8)),
    norm_on_bbox=True,
    centerness_on_reg=True,
    norm_cfg=dict(type="GN", num_groups=2),
)
RETINA = dict(
    type="RetinaHead",
    num_classes=2,
    in_channels=8,
    feat_channels=8,
    stacked_convs=1,
    anchor_generator=dict(
        type="AnchorGenerator", scales=[2, 4], ratios=[0.5, 1.0, 2.0], strides=[4, 8]
    ),
    bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
)
RETINA_TRAINING = dict(
    assigner=dict(
        type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0
    ),
    sampler=dict(type="PseudoSampler"),
    allowed_border=-1,
    pos_weight=-1,
)

# Aggregators, with the fusion that they need.
EXPERTS = dict(fusion="OddOneOutFusion", gate=None)
MEDIAN = dict(type="MedianAggregator")
AGREEMENT = dict(type="MedianAggregator", gate={})
CONSENSUS = dict(type="ConsensusAggregator")


@dataclass(frozen=True)
class Said:
    """What an aggregator chooses from, all at hand."""

    branches: Sequence[HeadOutputs]
    experts: Sequence[HeadOutputs] = ()
    fused: HeadOutputs | None = None


def branch(channels: int) -> dict:
    return dict(
        type="SensorBranch",
        mean=[20.0] * channels,
        std=[30.0] * channels,
        backbone=dict(
            type="ResNet",
            depth=18,
            num_stages=2,
            strides=(1, 2),
            dilations=(1, 1),
            out_indices=(0, 1),
            base_channels=4,
            stem_channels=4,
            in_channels=channels,
        ),
        neck=dict(type="FPN", in_channels=[4, 8], out_channels=8, num_outs=2),
    )


def make_detector(
    names: Sequence[str] = NAMES[:3],
    *,
    fusion: str | None = "ConcatFusion",
    head: dict = FCOS,
    branch_head: dict | None = None,
    aggregator: dict | None = None,
    lift: dict | None = None,
    freeze_2d: bool = False,
    **fusion_arguments: object,
):
    """A detector whose preprocessor describes all four sensors."""
    torch.manual_seed(0)
    config = dict(
        type="MultiModalDetector",
        data_preprocessor=dict(
            type="MultiModalPreprocessor", sensors=SPECS, pad_size_divisor=16
        ),
        branches={name: branch(len(SPECS[name]["channels"])) for name in names},
        fusion=None
        if len(names) == 1
        else dict(
            type=fusion,
            in_channels=8,
            num_levels=2,
            out_channels=8,
            **fusion_arguments,
        ),
        aggregator=aggregator,
        bbox_head=head,
        branch_head=branch_head,
        lift=lift,
        freeze_2d=freeze_2d,
        train_cfg=RETINA_TRAINING if head is RETINA else None,
        test_cfg=dict(
            nms_pre=50,
            score_thr=0.0,
            nms=dict(type="nms", iou_threshold=0.5),
            max_per_img=5,
        ),
    )
    return MODELS.build(config)


def make_sample(
    boxes: Sequence[Sequence[float]] = ((4, 4, 20, 28), (30, 6, 60, 26)),
    *,
    size: tuple[int, int] = (32, 64),
    frame_id: str = "000007",
    **metainfo: object,
) -> DetDataSample:
    sample = DetDataSample(
        metainfo=dict(
            frame_id=frame_id,
            img_shape=size,
            ori_shape=size,
            scale_factor=(1.0, 1.0),
            projections={"radar": PROJECTION.numpy()},
        )
        | metainfo
    )
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.arange(len(boxes)) % 2,
    )
    return sample


def raw_inputs(size: tuple[int, int] = (32, 64), seed: int = 0) -> dict[str, Tensor]:
    """One frame of all four sensors, as the data set packs it."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(300, 4, generator=generator)
    points = points * torch.tensor([30.0, 8.0, 6.0, 20.0])
    points = points + torch.tensor([3.0, -4.0, -3.0, -10.0])
    return {
        "thermal": 300 * torch.rand(1, *size, generator=generator),
        "radar": points,
        "sonar": 70 * torch.rand(1, *size, generator=generator),
        "eyes": (255 * torch.rand(3, *size, generator=generator)).to(torch.uint8),
    }


def make_batch(
    samples: Sequence[DetDataSample] | None = None, size: tuple[int, int] = (32, 64)
) -> dict:
    """What the data loader delivers, for every sensor."""
    samples = [make_sample(size=size)] if samples is None else list(samples)
    frames = [raw_inputs(size, seed) for seed in range(len(samples))]
    inputs = {name: [frame[name] for frame in frames] for name in NAMES}
    return {"inputs": inputs, "data_samples": samples}
