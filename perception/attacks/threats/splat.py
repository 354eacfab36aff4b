"""Drawing attacked points, with a gradient to everything an attacker can change.

The image is the hard z-buffer's, bit for bit what the detector would see. Its exact
gradient reaches the values that visible points leave in their pixels, and nothing
else: which pixel a point falls into, and whether it is there at all, are steps. For
these the gradient is approximated, straight through the unchanged image:

* Each point is spread over the four pixels around its projection with bilinear
  weights w. In a pixel that it owns, its weight counts by what would change if it went
  away: its value minus that of the point behind (0 if there is none). In a pixel where
  it would be the nearest, by what would change if it came: its value minus the present
  one. Elsewhere it is hidden and counts nothing. Hence the gradient of its position is
  the slope of w times these differences.
* A point that may be present or absent has a score; one more of it counts as one more
  of the same differences, summed with the same weights. An absent point also gets the
  gradient of its values that it would have if it alone were there.

A point without a height is drawn as a pillar of stand-ins (``rasterize.pillars``); each
of them is treated as above, and their gradients add up to the point's.

Shape letters: P points, F feature columns, C channels, H, W image size in pixels, V
points in view.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.core.structures import SensorSpec
from perception.models.rasterize import (
    NEAR_PLANE_M,
    draw_points,
    padded,
    pillars,
    point_values,
    project_row,
    visible_points,
)


@dataclass(frozen=True)
class View:
    """How one frame's points become an image.

    Attributes:
        spec: The point sensor.
        image_P_sensor: (3, 4) projection of its coordinates to pixels.
        size: (H, W) in pixels.
        shape: Height and width after padding.
    """

    spec: SensorSpec
    image_P_sensor: Tensor
    size: tuple[int, int]
    shape: tuple[int, int]

    @classmethod
    def of(cls, batch: AttackBatch, sensor: str, frame: int) -> View:
        """The view that the preprocessor takes of one frame."""
        sample = batch.samples[frame]
        height, width = batch.inputs[sensor].shape[-2:]
        projection = torch.as_tensor(sample.projections[sensor])
        size = sample.img_shape[:2]
        return cls(batch.sensors[sensor], projection, size, (height, width))

    def draw(self, points: Tensor) -> Tensor:
        """(C, H, W) hard z-buffer image of points (P, 3 + F), not padded."""
        return draw_points(points, self.spec, self.image_P_sensor, self.size)

    def pad(self, image: Tensor) -> Tensor:
        """Zeros on the right and at the bottom, as in the preprocessor."""
        return padded(image, self.shape)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels u, v and depth in metres, each (P,), of points (P, 3 + F)."""
        matrix = self.image_P_sensor.to(points)
        xyz = points[:, :3].T
        u, v, depth_m = (project_row(xyz, row) for row in matrix)
        return u / depth_m, v / depth_m, depth_m

    def values(self, points: Tensor, depth_m: Tensor) -> Tensor:
        """(P, C) what each point would leave in its pixel."""
        channels = [channel.name for channel in self.spec.channels]
        values = point_values(points.unbind(1), depth_m, self.spec.columns, channels)
        return torch.stack(values, dim=1)

    @torch.no_grad()
    def in_view(self, points: Tensor, margin_px: float = 0.0) -> Tensor:
        """(P,) whether points project into the image or ``margin_px`` around it."""
        height, width = self.size
        u, v, depth_m = self.project(points)
        inside = (depth_m > NEAR_PLANE_M) & (depth_m <= self.spec.max_depth_m)
        inside &= (u > -0.5 - margin_px) & (u < width - 0.5 + margin_px)
        return inside & (v > -0.5 - margin_px) & (v < height - 0.5 + margin_px)


def splat(points: Tensor, view: View, score: Tensor | None = None) -> Tensor:
    """Draw points with the gradients described above.

    Args:
        points: (P, 3 + F) x, y, z in metres in the sensor's frame, then features.
        view: How to draw them.
        score: (P,) points with a score above 0 are present; None: all are.

    Returns:
        (C, H', W') padded image, bit-identical to the preprocessor's of the present
        points. Of a sensor whose points are not drawn the table of them, absent ones
        as rows of zeros.
    """
    if view.spec.is_table:
        if score is not None:  # one more of a score counts as one more of the point
            points = points * ((score > 0).to(points) + score - score.detach())[:, None]
        return view.pad(view.draw(points))
    if view.spec.pillar_m is not None:
        # From here on the stand-ins are ordinary points; a score is that of them all.
        points, index = pillars(
            points, view.image_P_sensor, view.size, view.spec.pillar_m
        )
        score = None if score is None else score[index]
        view = replace(view, spec=replace(view.spec, pillar_m=None))
    present = None if score is None else score > 0
    image = view.draw(points if present is None else points[present])
    if not torch.is_grad_enabled() or not len(points):
        return view.pad(image)
    channels, size = len(image), image.shape[-2:]
    index = view.in_view(points, margin_px=0.5).nonzero().squeeze(1)
    seen = points[index]
    scored = None if score is None else score[index]
    ghost = _ghost(points.detach(), present, index, seen, scored, view)
    flat = image.view(channels, -1)
    return view.pad((flat + (ghost - ghost.detach())).view(channels, *size))


def _ghost(
    points: Tensor,
    present: Tensor | None,
    index: Tensor,
    seen: Tensor,
    score: Tensor | None,
    view: View,
) -> Tensor:
    """(C, H W) image whose gradient is that of the steps; its values mean nothing."""
    height, width = view.size
    owner, front, behind = _layers(points, present, view)
    u, v, depth_m = view.project(seen)
    values = view.values(seen, depth_m)
    held = values.detach()
    here = torch.ones_like(u)
    if score is not None:
        present_now = (score > 0).to(u)
        here = present_now + score - score.detach()
    left, top = u.detach().floor(), v.detach().floor()
    ghost = front.new_zeros(values.shape[1], height * width)
    for right_by, down_by in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = left + right_by, top + down_by
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        pixel = (row * width + column).long().where(inside, 0)
        weight = (1 - (u - column).abs()) * (1 - (v - row).abs())
        owns = inside & (owner[pixel] == index)
        nearest = inside & (depth_m.detach() < front[0, pixel])
        change = torch.where(owns[:, None], held - behind[1:, pixel].T, 0.0)
        comes = nearest & ~owns
        change = torch.where(comes[:, None], held - front[1:, pixel].T, change)
        share = (here * weight)[:, None] * change
        if score is not None:
            # What an absent point would write if it were there.
            absent = (comes & (score <= 0)).to(u) * weight.detach()
            share = share + absent[:, None] * values
        ghost = ghost.index_add(1, pixel, share.T)
    return ghost


def _layers(
    points: Tensor, present: Tensor | None, view: View
) -> tuple[Tensor, Tensor, Tensor]:
    """The present points' first and second layer.

    Returns:
        The index of the point that each pixel shows (H W,), -1 for none, and of both
        layers depth (infinite for none) and channels (1 + C, H W).
    """
    height, width = view.size
    numbers = torch.arange(len(points), device=points.device)
    kept = numbers if present is None else numbers[present]
    owner = numbers.new_full((height * width,), -1)
    layers: list[Tensor] = []
    for _ in range(2):
        cloud = points[kept]
        which, pixel = visible_points(
            cloud, view.image_P_sensor.to(cloud), view.size, view.spec.max_depth_m
        )
        layer = points.new_zeros(1 + len(view.spec.channels), height * width)
        layer[0] = torch.inf
        shown = cloud[which]
        depth_m = view.project(shown)[2]
        layer[0, pixel] = depth_m
        layer[1:, pixel] = view.values(shown, depth_m).T
        if not layers:
            owner[pixel] = kept[which]
        layers.append(layer)
        hidden = torch.ones_like(kept, dtype=torch.bool)
        hidden[which] = False
        kept = kept[hidden]
    return owner, layers[0], layers[1]
