"""From a detector's tensors to the values that pictures show.

Shape letters: N frames, S sensors; C, H, W model input, h, w gate map; P points, F
features of a point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from perception.core.structures import Calibration, Objects
from perception.visualization.scene import Scene, View

Inputs = Mapping[str, Tensor]


def scene_of(
    detector: Any,
    raw: Mapping[str, Sequence[Tensor]],
    inputs: Inputs,
    sample: DetDataSample,
    *,
    n: int = 0,
    loss: float | None = None,
) -> Scene:
    """What a detector saw and found in one clean frame.

    Args:
        detector: A ``MultiModalDetector``.
        raw: For each sensor the frames' tensors as the data loader yields them.
        inputs: {sensor: (N, C, H, W)} model inputs.
        sample: The predicted sample of the frame.
        n: Number of the frame in the batch.
        loss: Detection loss, if known.
    """
    specs = detector.sensors
    kinds = {name: spec.kind for name, spec in specs.items()}
    points = {
        name: raw[name][n].detach().cpu().numpy()
        for name in specs
        if kinds[name] == "points"
    }
    others = [raw[name][n] for name in raw if name not in specs]
    pictures = [
        value.cpu().numpy().transpose(1, 2, 0)
        for value in others
        if value is not None and value.ndim == 3 and value.dtype == torch.uint8
    ]
    one = {name: value[n : n + 1] for name, value in inputs.items()}
    return Scene(
        frame_id=str(sample.frame_id),
        sensors=specs,
        calibration=calibration_of(sample),
        image_size=tuple(sample.img_shape[:2]),
        original_size=tuple(sample.ori_shape[:2]),
        truth=sample.get("objects"),
        clean=view_of(detector, points, one, sample, loss),
        picture=pictures[0] if pictures else None,
    )


def calibration_of(sample: DetDataSample) -> Calibration:
    """The calibration at the resolution of the model input, from the sample."""
    image_P_cam = np.asarray(sample.image_P_cam, dtype=np.float64)
    inverse = np.linalg.inv(image_P_cam[:, :3])
    transforms = {}
    for name, image_P_sensor in sample.projections.items():
        # P_sensor = [M | p] T, hence the upper rows of T are M⁻¹ (P_sensor - [0 | p]).
        rows: np.ndarray = inverse @ np.asarray(image_P_sensor, dtype=np.float64)
        rows[:, 3] = rows[:, 3] - inverse @ image_P_cam[:, 3]
        transforms[name] = np.vstack([rows, [0, 0, 0, 1]])
    return Calibration(image_P_cam, transforms)


def view_of(
    detector: Any,
    points: Mapping[str, np.ndarray],
    inputs: Inputs,
    sample: DetDataSample,
    loss: float | None,
) -> View:
    """What a detector was given and found in one frame, without padding.

    Args:
        detector: A ``MultiModalDetector``.
        points: For each point sensor its cloud (P, 3 + F).
        inputs: {sensor: (1, C, H, W)} model inputs.
        sample: The predicted sample of the frame.
        loss: Detection loss, if known.
    """
    height, width = sample.img_shape[:2]
    found = sample.pred_instances
    boxes_px, scores, labels = (
        column.detach().cpu().numpy()
        for column in (found.bboxes, found.scores, found.labels)
    )
    names = np.array(detector.dataset_meta["classes"], dtype=object)[labels]
    gate, gate_map = sample.get("gate"), sample.get("gate_map")
    padded_height, padded_width = next(iter(inputs.values())).shape[-2:]
    padded = (padded_height, padded_width)
    return View(
        inputs={
            name: value[0, :, :height, :width].detach().cpu().numpy()
            for name, value in inputs.items()
        },
        points=points,
        detections=Objects.from_boxes(names, boxes_px, scores),
        gate=None if gate is None else gate.detach().cpu().numpy(),
        gate_map=None
        if gate_map is None
        else _without_padding(gate_map.detach().cpu().numpy(), padded, (height, width)),
        doubt=None if sample.get("alarm") is None else float(sample.alarm),
        loss=loss,
    )


def _without_padding(
    gate_map: np.ndarray, padded: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """(S + 1, H, W): a map (S + 1, h, w) over a padded image, cut to the image."""
    rows = np.arange(size[0]) * gate_map.shape[1] // padded[0]
    columns = np.arange(size[1]) * gate_map.shape[2] // padded[1]
    return gate_map[:, rows[:, None], columns]
