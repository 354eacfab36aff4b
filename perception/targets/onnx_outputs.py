"""What ONNX detectors put out, read as boxes.

Each function takes the outputs and the input's (H, W) in pixels, and returns boxes
(D, 4) in pixels of the input, scores (D,) and labels (D,).

Shape letters: D detections or locations, K classes, h, w size of a grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


def ready(outputs: Sequence[np.ndarray], size: tuple[int, int]) -> Columns:
    """Boxes, scores, labels; or boxes with scores (1, D, 5) and labels (1, D)."""
    if len(outputs) == 2:
        boxes, labels = outputs[0].reshape(-1, 5), outputs[1].reshape(-1)
        return boxes[:, :4], boxes[:, 4], labels.astype(np.int64)
    boxes, scores, labels = outputs
    return boxes.reshape(-1, 4), scores.reshape(-1), labels.reshape(-1).astype(np.int64)


def yolox(outputs: Sequence[np.ndarray], size: tuple[int, int]) -> Columns:
    """YOLOX's undecoded (1, D, 5 + K) of strides 8, 16 and 32 (Ge et al., 2021)."""
    (table,) = outputs[0]
    grids, strides = [], []
    for stride in (8, 16, 32):
        rows, columns = np.mgrid[0 : size[0] // stride, 0 : size[1] // stride]
        grids.append(np.stack([columns, rows], axis=-1).reshape(-1, 2))
        strides.append(np.full(len(grids[-1]), stride))
    stride = np.concatenate(strides)[:, None]
    center = (table[:, :2] + np.concatenate(grids)) * stride
    half = np.exp(table[:, 2:4]) * stride / 2
    scores = table[:, 4:5] * table[:, 5:]
    boxes = np.concatenate([center - half, center + half], axis=1)
    return boxes, scores.max(axis=1), scores.argmax(axis=1)


def fastest_det(outputs: Sequence[np.ndarray], size: tuple[int, int]) -> Columns:
    """FastestDet's (1, 5 + K, h, w): objectness, box relative to its cell, classes."""
    (maps,) = outputs[0]
    h, w = maps.shape[1:]
    rows, columns = np.mgrid[0:h, 0:w]
    x, y = (np.tanh(maps[1]) + columns) / w, (np.tanh(maps[2]) + rows) / h
    wide, high = (1 / (1 + np.exp(-maps[i])) / 2 for i in (3, 4))
    boxes = np.stack([x - wide, y - high, x + wide, y + high], axis=-1).reshape(-1, 4)
    score = maps[0] ** 0.6 * maps[5:].max(axis=0) ** 0.4
    boxes = boxes * [size[1], size[0], size[1], size[0]]
    return boxes, score.reshape(-1), maps[5:].argmax(axis=0).reshape(-1)
