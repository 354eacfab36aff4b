"""Textures drawn into images in perspective, differentiable and without aliasing.

A texture is piecewise constant: printed texels are squares. A pixel shows the mean
over its footprint on the texture, however many texels that covers. The footprint of
each of a pixel's K x K parts is approximated by the upright rectangle around it, whose
integral is read off a summed-area table (Crow, "Summed-Area Tables for Texture
Mapping", SIGGRAPH 1984); for a patch that faces the camera upright this is exact.
Everything is linear in the texture, with weights that depend on the pose alone.

Shape letters: F images, C channels, H, W their size; h, w texture size in texels;
M pixels covered by a copy of the patch; U different pixels; T taps of a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from perception.attacks.patch.placement import PatchPlane

_PARTS = 2  # a pixel under perspective is split into so many parts per axis
# Less of a pixel cannot change its 8-bit value by more than a quarter level.
_LEAST_COVERAGE = 1e-3


@dataclass(frozen=True)
class Warp:
    """How F textures appear in F images.

    Attributes:
        taps: (M, T) which entries of the flattened summed-area tables a pixel reads.
        weights: (M, T) how much of each.
        slots: (M,) index into ``pixels``.
        pixels: (U,) changed pixels, flat index into (F, H, W), ascending.
        kept: (U, 1) share of the image that stays visible.
    """

    taps: Tensor
    weights: Tensor
    slots: Tensor
    pixels: Tensor
    kept: Tensor

    def __call__(
        self, textures: Tensor, images: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        """Draw the textures into the images.

        Args:
            textures: (F, C, h, w).
            images: (F, C, H, W); not changed.
            noise: (U, C) added to what the patch shows, before clipping to 0 … 255.

        Returns:
            (F, C, H, W); pixels without patch are bit-identical to ``images``.
        """
        channels = images.shape[1]
        table = F.pad(textures.double().cumsum(dim=2).cumsum(dim=3), (1, 0, 1, 0))
        entries = table.permute(0, 2, 3, 1).reshape(-1, channels)
        shown = F.embedding_bag(
            self.taps, entries, per_sample_weights=self.weights, mode="sum"
        )
        patch = torch.zeros(
            len(self.pixels), channels, dtype=shown.dtype, device=shown.device
        ).index_add(0, self.slots, shown)
        if noise is not None:
            # Clipped by hand: what is not patch must not be clipped.
            shares = 1 - self.kept
            patch = torch.clamp(patch + noise * shares, min=0)
            patch = torch.minimum(patch, 255 * shares)
        flat = images.permute(0, 2, 3, 1).reshape(-1, channels)
        mixed = flat[self.pixels] * self.kept + patch
        drawn = flat.index_copy(0, self.pixels, mixed.to(images.dtype))
        count, _, height, width = images.shape
        return drawn.view(count, height, width, channels).permute(0, 3, 1, 2)


def plan_warp(
    planes: Sequence[Sequence[PatchPlane]],
    shapes: Sequence[tuple[int, int]],
    image_size: tuple[int, int],
    texture_size: tuple[int, int],
    device: torch.device | str = "cpu",
) -> Warp:
    """Weights of all copies of a patch in F images.

    Args:
        planes: For each image its copies, the nearest first: it hides the others.
        shapes: For each image its (H, W) without padding, which stays untouched.
        image_size: (H, W) with padding.
        texture_size: (h, w) in texels.
        device: Where the images are.
    """
    entries = (texture_size[0] + 1) * (texture_size[1] + 1)
    taps, weights, pixels = [], [], []
    visible = np.ones((len(planes), *image_size))
    for n, copies in enumerate(planes):
        for plane in copies:
            rows, columns, index, weight, share = footprint(
                plane, shapes[n], texture_size
            )
            free = visible[n, rows, columns]
            visible[n, rows, columns] = free * (1 - share)
            pixels.append((n * image_size[0] + rows) * image_size[1] + columns)
            taps.append(index + n * entries)
            weights.append(weight * free[:, None])
    # Copies that face the camera need fewer taps; pad theirs with weight 0.
    most = max((t.shape[1] for t in taps), default=1)
    empty = np.zeros((0, most))
    taps_all = np.concatenate([empty, *(_widen(t, most) for t in taps)])
    weights_all = np.concatenate([empty, *(_widen(w, most) for w in weights)])
    unique, slots = np.unique(
        np.concatenate([np.zeros(0, int), *pixels]), return_inverse=True
    )
    return Warp(
        torch.from_numpy(taps_all.astype(np.int64)).to(device),
        torch.from_numpy(weights_all).to(device),
        torch.from_numpy(slots.reshape(-1)).to(device),
        torch.from_numpy(unique).to(device),
        torch.from_numpy(visible.reshape(-1, 1)[unique]).to(device),
    )


def footprint(
    plane: PatchPlane, shape: tuple[int, int], texture_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The pixels of an (H, W) image that show the patch, and what they show of it.

    Returns:
        Rows and columns (M,), taps into the summed-area table and their weights
        (M, T), and the covered share of each pixel (M,).
    """
    height, width = texture_size
    matrix = plane.image_H_plane
    straight = not (matrix[0, 1] or matrix[1, 0] or matrix[2, 0] or matrix[2, 1])
    parts = 1 if straight else _PARTS
    rows, columns = _candidates(plane, shape)
    offsets = (np.arange(parts) + 0.5) / parts - 0.5
    v, u = np.meshgrid(offsets, offsets, indexing="ij")
    u, v = columns[:, None] + u.ravel(), rows[:, None] + v.ravel()
    ahead, x, y, reach_x, reach_y = _on_plane(matrix, u, v, parts)
    low_s, high_s, span_s = _texels(x, reach_x, plane.size[0], width)
    low_t, high_t, span_t = _texels(y, reach_y, plane.size[1], height)
    area = np.where(ahead, 1 / (span_s * span_t), 0) / parts**2
    share = ((high_s - low_s) * (high_t - low_t) * area).sum(axis=1)
    seen = share >= _LEAST_COVERAGE
    index_s, weight_s = _taps(low_s[seen], high_s[seen], width)
    index_t, weight_t = _taps(low_t[seen], high_t[seen], height)
    index = index_t[..., :, None] * (width + 1) + index_s[..., None, :]
    weight = weight_t[..., :, None] * weight_s[..., None, :]
    weight = weight * area[seen][..., None, None]
    share = share[seen]
    # Rounding must not let the image shine through a pixel that is all patch.
    share = np.where(share > 1 - 1e-9, 1.0, share)
    count = len(share)
    taps = parts**2 * 16
    return (
        rows[seen],
        columns[seen],
        index.reshape(count, taps),
        weight.reshape(count, taps),
        share,
    )


def _candidates(
    plane: PatchPlane, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of all pixels in the patch's upright image box."""
    half = np.array(plane.size) / 2
    corners = np.array([[-1, -1, 1, 1], [-1, 1, -1, 1]]) * half[:, None]
    projected = plane.image_H_plane @ np.vstack([corners, np.ones(4)])
    low, high = np.zeros(2, int), np.array([shape[1], shape[0]])
    if (projected[2] <= 0).all():
        high = low
    elif (projected[2] > 1e-6).all():
        pixels = projected[:2] / projected[2]
        low = np.clip(np.floor(pixels.min(axis=1)), 0, high).astype(int)
        high = np.clip(np.ceil(pixels.max(axis=1)) + 1, 0, high).astype(int)
    rows, columns = np.mgrid[low[1] : high[1], low[0] : high[0]]
    return rows.ravel(), columns.ravel()


def _on_plane(
    image_H_plane: np.ndarray, u: np.ndarray, v: np.ndarray, parts: int
) -> tuple[np.ndarray, ...]:
    """Where pixels (u, v) see the plane, and how far 1 / ``parts`` of them reaches.

    Returns:
        Whether it lies before the camera, x, y, and the extents along x and y, all
        of the shape of u.
    """
    inverse = np.linalg.inv(image_H_plane)
    x, y, scale = np.moveaxis(
        np.stack([u, v, np.ones_like(u)], axis=-1) @ inverse.T, -1, 0
    )
    ahead = scale > 0
    scale = np.where(ahead, scale, 1)
    x, y = x / scale, y / scale
    reach = [
        sum(np.abs(inverse[k, j] - value * inverse[2, j]) for j in range(2))
        for k, value in enumerate((x, y))
    ]
    return ahead, x, y, reach[0] / scale / parts, reach[1] / scale / parts


def _texels(
    center: np.ndarray, reach: np.ndarray, size: float, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start, end (both within 0 … count) and unclipped length in texels."""
    middle = (center / size + 0.5) * count
    span = reach / size * count
    low, high = middle - span / 2, middle + span / 2
    return low.clip(0, count), high.clip(0, count), span


def _taps(
    low: np.ndarray, high: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Entries of a cumulated sum (count + 1) and weights (..., 4): end minus start."""
    edges = np.stack([low, high], axis=-1)
    first = np.floor(edges).clip(0, count - 1).astype(int)
    rest = edges - first
    sign = np.array([-1.0, 1.0])
    index = np.concatenate([first, first + 1], axis=-1)
    return index, np.concatenate([sign * (1 - rest), sign * rest], axis=-1)


def _widen(values: np.ndarray, width: int) -> np.ndarray:
    return np.pad(values, ((0, 0), (0, width - values.shape[1])))
