"""A tiny three-sensor detector, trained for seconds, and the frames it knows."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from tiny_kitti import CLASSES, make_frame

from perception.datasets import transforms  # noqa: F401 (registers the pipeline)
from perception.datasets.frame_dataset import FrameDataset
from perception.models import MultiModalDetector

CHANNELS = 16
TRAINING_STEPS = 60
SENSORS = {
    "camera": {
        "kind": "image",
        "channels": [
            ("red", "grey levels", 0.0, 255.0),
            ("green", "grey levels", 0.0, 255.0),
            ("blue", "grey levels", 0.0, 255.0),
        ],
    },
    "lidar": {
        "kind": "points",
        "columns": ("x", "y", "z", "reflectance"),
        "channels": [
            ("depth_m", "m", 0.0, 80.0),
            ("height_m", "m", -3.0, 3.0),
            ("reflectance", "1", 0.0, 1.0),
        ],
    },
    "depth": {"kind": "depth", "channels": [("depth_m", "m", 0.0, 80.0)]},
}
MEANS = {"camera": [60.0] * 3, "lidar": [8.0, -0.5, 0.1], "depth": [30.0]}
STDS = {"camera": [60.0] * 3, "lidar": [12.0, 1.0, 0.2], "depth": [15.0]}


def detector_config(fusion: str | None = "OddOneOutFusion", **branches: Any) -> dict:
    """Config of a detector of 64 x 32 inputs.

    Args:
        fusion: Type of the fusion neck; None for a detector of a single sensor.
        **branches: For each sensor its input channels; default all of ``SENSORS``.
    """
    branches = branches or {n: len(s["channels"]) for n, s in SENSORS.items()}
    # Hardly taught, the gate stays undecided: attacks on it have something to move.
    gate = {"loss_weight": 0.01} if fusion == "OddOneOutFusion" else {}
    backbone = {
        "type": "ResNet",
        "depth": 18,
        "num_stages": 2,
        "strides": (1, 2),
        "dilations": (1, 1),
        "out_indices": (0, 1),
        "base_channels": 8,
        "stem_channels": 8,
        "norm_eval": False,
    }
    neck = {"type": "FPN", "in_channels": [8, 16], "num_outs": 2}
    return {
        "type": "MultiModalDetector",
        "data_preprocessor": {
            "type": "MultiModalPreprocessor",
            "sensors": SENSORS,
            "pad_size_divisor": 8,
        },
        "branches": {
            name: {
                "type": "SensorBranch",
                "mean": MEANS[name],
                "std": STDS[name],
                "backbone": backbone | {"in_channels": channels},
                "neck": neck | {"out_channels": CHANNELS},
            }
            for name, channels in branches.items()
        },
        "fusion": fusion
        and {
            "type": fusion,
            "in_channels": CHANNELS,
            "num_levels": 2,
            "out_channels": CHANNELS,
        }
        | gate,
        "bbox_head": {
            "type": "FCOSHead",
            "num_classes": len(CLASSES),
            "in_channels": CHANNELS,
            "feat_channels": CHANNELS,
            "stacked_convs": 1,
            "strides": [4, 8],
            "regress_ranges": ((-1, 12), (12, 1e8)),
            "center_sampling": True,
            "norm_on_bbox": True,
            "centerness_on_reg": True,
            "conv_bias": True,
            "norm_cfg": {"type": "GN", "num_groups": 4},
        },
        "test_cfg": {
            "nms_pre": 100,
            "score_thr": 0.02,
            "nms": {"type": "nms", "iou_threshold": 0.5},
            "max_per_img": 20,
        },
    }


def collated(frames: list[int]) -> dict:
    """What a data loader yields for these numbers of ``make_frame``."""
    init_default_scope("mmdet")
    dataset = FrameDataset(
        frames=[make_frame(i) for i in frames],
        classes=CLASSES,
        pipeline=[{"type": "PackFrame"}],
    )
    return pseudo_collate([dataset[i] for i in range(len(dataset))])


def trained_detector(
    config: dict, *, steps: int = TRAINING_STEPS, seed: int = 0
) -> MultiModalDetector:
    """A detector that has seen the first four frames ``steps`` times over."""
    init_default_scope("mmdet")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        detector = MODELS.build(config)
        detector.init_weights()
        detector.train()
        packed = detector.data_preprocessor(collated([0, 1, 2, 3]), True)
        optimiser = torch.optim.Adam(detector.parameters(), lr=1e-2)
        for _ in range(steps):
            losses = detector(packed["inputs"], packed["data_samples"], mode="loss")
            total, _ = detector.parse_losses(losses)
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
    torch.set_num_threads(threads)
    detector.dataset_meta = {"classes": CLASSES}
    detector.zero_grad(set_to_none=True)
    return detector.eval()
