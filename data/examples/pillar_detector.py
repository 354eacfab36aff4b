"""A LiDAR detector of one's own as a target: points in, boxes in space out.

A small pillar network in pure PyTorch (after Lang et al., "PointPillars", CVPR 2019,
with the head of Zhou, Wang and Krähenbühl, "Objects as Points", 2019). What an attack
needs of it is in ``soft_pillars``: a point counts in the four cells around it, by
bilinear weights, so that the answer is continuous in its coordinates, and a gradient
reaches them. Rounding to a cell would cut it.

    python data/examples/pillar_detector.py train configs/synthetic/lidar_only.py \\
        pillars.safetensors --minutes 10
    PYTHONPATH=data/examples python tools/attack.py --target pillar_detector:build \\
        --data configs/synthetic/lidar_only.py --threat lidar_shift_3d --num 24

Shape letters: N frames, P points, K classes, Z, X cells ahead and across, G objects.
Everything is in the camera's frame: x right, y down, z ahead, in metres.
"""

from __future__ import annotations

import argparse
import os
import random
import time

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn

from perception.apis import build_dataset, build_loader
from perception.core.checkpoints import load_checkpoint, save_weights
from perception.core.config import load_config
from perception.core.structures import Channel, Objects, Prediction, SensorSpec
from perception.models.modes import in_eval_mode
from perception.models.preprocessor import MultiModalPreprocessor
from perception.targets.batches import frame_batch

CLASSES = ("Car", "Pedestrian", "Cyclist")
COLUMNS = ("x", "y", "z", "reflectance")
LIMITS = ((-100.0, 100.0), (-100.0, 100.0), (-5.0, 5.0), (0.0, 1.0))
CELL_M, LEFT_M, CELLS = 0.5, -20.0, (96, 80)  # 48 m ahead, 20 m to either side


def soft_pillars(points: Tensor, features: Tensor) -> Tensor:
    """(C + 1, Z, X) mean features of each cell's points, and how many there are.

    Args:
        points: (P, 3) in the camera's frame.
        features: (P, C).
    """
    z = points[:, 2] / CELL_M - 0.5
    x = (points[:, 0] - LEFT_M) / CELL_M - 0.5
    values = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
    total = features.new_zeros(CELLS[0] * CELLS[1], features.shape[1] + 1)
    for dz in (0, 1):
        for dx in (0, 1):
            row, column = z.detach().floor() + dz, x.detach().floor() + dx
            weight = (1 - (z - row).abs()) * (1 - (x - column).abs())
            inside = (row >= 0) & (row < CELLS[0]) & (column >= 0) & (column < CELLS[1])
            cell = (row * CELLS[1] + column).long()[inside]
            value = values[inside] * weight[inside, None]
            total = total.index_add(0, cell, value)
    count = total[:, -1:]
    mean = total[:, :-1] / (count + 0.1)
    return torch.cat([mean, (1 + count).log()], dim=1).T.unflatten(1, CELLS)


class PillarNet(nn.Module):
    """Points to a map of class logits (K) and boxes (8) for every cell."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(4, width), nn.ReLU())
        self.full_map = self._block(width + 1, width, 1)
        self.half_map = self._block(width, 2 * width, 2)
        self.quarter_map = self._block(2 * width, 2 * width, 2)
        self.half_more = self._block(2 * width, 2 * width, 1)
        self.quarter_more = self._block(2 * width, 2 * width, 1)
        self.join = nn.Conv2d(5 * width, width, 1)
        self.last = self._block(width, width, 1)
        self.head = nn.Conv2d(width, len(CLASSES) + 8, 1)
        nn.init.constant_(self.head.bias[: len(CLASSES)], -4.0)

    @staticmethod
    def _block(before: int, after: int, stride: int) -> nn.Sequential:
        conv = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        return nn.Sequential(conv, nn.GroupNorm(8, after), nn.ReLU())

    def forward(self, clouds: list[Tensor]) -> Tensor:
        """N clouds (P, 4) of x, y, z and reflectance to (N, K + 8, Z, X)."""
        scale = clouds[0].new_tensor([20.0, 2.0, 40.0, 1.0])
        maps = [soft_pillars(c[:, :3], self.encode(c / scale)) for c in clouds]
        fine = self.full_map(torch.stack(maps))
        half = self.half_more(self.half_map(fine))
        quarter = self.quarter_more(self.quarter_map(half))
        sizes = [F.interpolate(m, CELLS, mode="bilinear") for m in (half, quarter)]
        return self.head(self.last(self.join(torch.cat([fine, *sizes], dim=1))))


def in_camera_frame(table: Tensor, sample) -> Tensor:
    """A table (4, P, 1) of points to (P, 4) in the camera's frame, padding left out."""
    points = table[..., 0].T
    points = points[points.detach().abs().sum(dim=1) > 0]
    inverse = np.linalg.inv(sample.image_P_cam[:, :3])
    cam_T_lidar = inverse @ sample.projections["lidar"]
    cam_T_lidar[:, 3] -= inverse @ sample.image_P_cam[:, 3]
    matrix = torch.from_numpy(cam_T_lidar).to(points)
    xyz = points[:, :3] @ matrix[:, :3].T + matrix[:, 3]
    return torch.cat([xyz, points[:, 3:]], dim=1)


def truth_of(objects: Objects) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Class, row and column of the cell, and the 8 numbers of each object's box."""
    names = ["Car" if name == "Van" else name for name in objects.names]
    place = objects.location_m
    z = place[:, 2] / CELL_M
    x = (place[:, 0] - LEFT_M) / CELL_M
    keep = [
        name in CLASSES and 0 <= z[n] < CELLS[0] and 0 <= x[n] < CELLS[1]
        for n, name in enumerate(names)
    ]
    labels = torch.tensor([CLASSES.index(n) for n, k in zip(names, keep) if k])
    yaw = objects.rotation_y
    box = [z % 1, x % 1, place[:, 1], *np.log(objects.dimensions_m.clip(0.1)).T]
    box = np.stack([*box, np.sin(2 * yaw), np.cos(2 * yaw)], axis=1)[keep]
    row, column = (torch.from_numpy(v[keep].astype(np.int64)) for v in (z, x))
    return labels.long(), row, column, torch.from_numpy(box).float()


def frame_loss(output: Tensor, objects: Objects) -> Tensor:
    """Focal loss of the classes and distance of the boxes of one frame (K + 8, Z, X)."""
    logits, boxes = output[: len(CLASSES)], output[len(CLASSES) :]
    labels, row, column, wanted = truth_of(objects)
    z, x = (torch.arange(size, device=output.device) for size in CELLS)
    heat = torch.zeros_like(logits)
    for label, r, c in zip(labels, row, column, strict=True):
        blob = (-((z[:, None] - r) ** 2 + (x - c) ** 2) / 2.0).exp()
        heat[label] = torch.maximum(heat[label], blob)
    peak = heat == 1
    p, log_p, log_q = logits.sigmoid(), F.logsigmoid(logits), F.logsigmoid(-logits)
    focal = torch.where(peak, (1 - p) ** 2 * log_p, (1 - heat) ** 4 * p**2 * log_q)
    away = (boxes[:, row, column].T - wanted.to(boxes)).abs().sum()
    return (away - focal.sum()) / max(len(labels), 1)


class PillarTarget:
    """``PillarNet`` as attacks, corruptions, audit and tables know it."""

    classes = CLASSES

    def __init__(self, net: PillarNet, device: str = "cpu") -> None:
        self.net, self.device = net.to(device).eval(), torch.device(device)
        channels = [
            (c, "1" if c == COLUMNS[3] else "m", *r) for c, r in zip(COLUMNS, LIMITS)
        ]
        # A table of points: the channels of the input are the columns themselves.
        lidar = dict(kind="points", columns=COLUMNS, channels=channels)
        self.preprocessor = MultiModalPreprocessor({"lidar": lidar}).to(device)
        self.sensors = self.preprocessor.sensors

    def batch(self, data, ids=None):
        """What a data loader yields, as an attack takes it."""
        return frame_batch(self.preprocessor, data, ids)

    def frozen(self):
        return in_eval_mode(self.net)

    def outputs(self, inputs, frames) -> Tensor:
        pairs = zip(inputs["lidar"], frames, strict=True)
        return self.net([in_camera_frame(table, sample) for table, sample in pairs])

    def losses(self, inputs, frames) -> Tensor:
        """(N,) opens gradient attacks: each frame's loss by itself."""
        outputs = self.outputs(inputs, frames)
        pairs = zip(outputs, frames, strict=True)
        return torch.stack([frame_loss(one, sample.objects) for one, sample in pairs])

    @torch.no_grad()
    def predict(self, inputs, frames) -> list[Prediction]:
        """Boxes in space, and where they show in the original picture."""
        return [
            Prediction(boxes_of(one, sample))
            for one, sample in zip(self.outputs(inputs, frames), frames, strict=True)
        ]


def boxes_of(output: Tensor, sample, most: int = 50) -> Objects:
    """The highest peaks of one frame's map (K + 8, Z, X) as objects."""
    scores = output[: len(CLASSES)].sigmoid()
    peaks = torch.where(F.max_pool2d(scores, 5, 1, 2) == scores, scores, 0.0)
    best, where = peaks.flatten().topk(most)
    label, row, column = (
        v.cpu().numpy() for v in torch.unravel_index(where, peaks.shape)
    )
    box = output[len(CLASSES) :, row, column].double().cpu().numpy()
    z, x = (row + box[0]) * CELL_M, (column + box[1]) * CELL_M + LEFT_M
    place = np.stack([x, box[2], z], axis=1)
    size = np.exp(box[3:6].clip(-3, 3)).T
    yaw = np.arctan2(box[6], box[7]) / 2
    shown = picture_boxes(place, size, yaw, sample)
    names = np.array(CLASSES, dtype=object)[label]
    objects = Objects.from_boxes(names, shown, best.double().cpu().numpy())
    objects = Objects(
        **vars(objects) | dict(location_m=place, dimensions_m=size, rotation_y=yaw)
    )
    wide = shown[:, 2:] - shown[:, :2]
    return objects.select((wide > 1).all(axis=1) & (z > 1) & (objects.scores > 0.02))


def picture_boxes(place, size, yaw, sample) -> np.ndarray:
    """(G, 4) bounds in the original picture of boxes in space."""
    signs = np.array(
        [[i, j, k] for i in (0.5, -0.5) for j in (0, -1) for k in (0.5, -0.5)]
    )
    along, up, across = (signs * size[:, None, [2, 0, 1]]).transpose(2, 0, 1)
    cos, sin = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    turned = [cos * along + sin * across, up, cos * across - sin * along]
    corners = np.stack(turned, axis=-1) + place[:, None]
    matrix = sample.image_P_cam
    u, v, depth = np.moveaxis(corners @ matrix[:, :3].T + matrix[:, 3], -1, 0)
    pixels = np.stack([u, v], axis=-1) / depth.clip(0.5)[..., None] + 0.5
    pixels = pixels / np.array(sample.scale_factor)
    edge = np.array(sample.ori_shape[1::-1])
    return np.concatenate([pixels.min(1).clip(0, edge), pixels.max(1).clip(0, edge)], 1)


def train(config: Config, minutes: float) -> PillarNet:
    """A net trained on a config's training frames for so many minutes of a core."""
    torch.manual_seed(0)
    target = PillarTarget(PillarNet())
    config.train_dataloader.dataset.frames.sensors = ["lidar"]
    frames = build_dataset(config, "train")
    optimiser = torch.optim.AdamW(target.net.parameters(), lr=2e-3)
    begin, seen = time.process_time(), 0
    order = random.Random(0)
    net = target.net.train()
    while (share := (time.process_time() - begin) / 60 / minutes) < 1:
        numbers = order.sample(range(len(frames)), min(4, len(frames)))
        data = next(iter(build_loader(frames, numbers, batch_size=len(numbers))))
        batch = target.batch(data)
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, seen / 200 + 0.1) * (1 - share) + 1e-5
        loss = target.losses(batch.inputs, batch.samples).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
        seen += len(numbers)
        if seen % 100 == 0:
            print(f"{share:.0%}: {seen} frames, loss {loss.item():.2f}", flush=True)
    return net.eval()


def build() -> PillarTarget:
    """For ``--target pillar_detector:build``; weights from the environment."""
    net = PillarNet()
    weights = os.environ.get("PILLAR_WEIGHTS", "pillars.safetensors")
    net.load_state_dict(load_checkpoint(weights)["state_dict"])
    return PillarTarget(net)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["train"])
    parser.add_argument("config")
    parser.add_argument("out")
    parser.add_argument("--data-root", default="data/synthetic")
    parser.add_argument("--minutes", type=float, default=10.0)
    args = parser.parse_args()
    config = load_config(args.config, {"data_root": args.data_root})
    save_weights(args.out, train(config, args.minutes).state_dict())
