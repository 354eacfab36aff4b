"""Batches with round numbers and victims with known objectives, without a network."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from perception.attacks import AttackBatch
from perception.core.structures import Channel, SensorSpec

SENSORS = {
    "camera": SensorSpec(
        "camera",
        "image",
        tuple(Channel(c, "grey levels", 0.0, 255.0) for c in ("red", "green", "blue")),
    ),
    "depth": SensorSpec("depth", "depth", (Channel("depth_m", "m", 0.0, 80.0),)),
}


def made_batch(
    frames: int = 2,
    size: tuple[int, int] = (6, 8),
    padded: tuple[int, int] = (8, 8),
    first_id: int = 0,
    fx_baseline_px_m: float | None = 100.0,
) -> AttackBatch:
    """Frames of grey 100 and depth 20 m; what lies beyond ``size`` is padding."""
    camera = torch.zeros(frames, 3, *padded)
    depth = torch.zeros(frames, 1, *padded)
    camera[:, :, : size[0], : size[1]] = 100.0
    depth[:, :, : size[0], : size[1]] = 20.0
    samples = []
    for _ in range(frames):
        sample = DetDataSample(
            metainfo={"img_shape": size, "fx_baseline_px_m": fx_baseline_px_m}
        )
        sample.gt_instances = InstanceData(bboxes=torch.zeros(0, 4))
        samples.append(sample)
    ids = list(range(first_id, first_id + frames))
    return AttackBatch({"camera": camera, "depth": depth}, {}, samples, SENSORS, ids)


class Bowl:
    """A victim whose objective is highest where the camera shows ``top``."""

    def __init__(self, batch: AttackBatch, top: float) -> None:
        self.batch, self.top = batch, top
        self.touched, self.target = ("camera",), SimpleNamespace(sensors=SENSORS)
        self.calls = 0

    def respond(self, changed: dict[str, Tensor], *_: object) -> SimpleNamespace:
        """What only has a loss."""
        self.calls += 1
        return SimpleNamespace(losses=lambda part: self.height(changed))

    def height(self, changed: dict[str, Tensor]) -> Tensor:
        """(M N,) minus the squared distance."""
        return -((changed["camera"] - self.top) ** 2).flatten(1).sum(dim=1)
