"""The threat that adds points: spoofed returns within a frustum.

How they are chosen says ``perception.attacks.threats.point_drop``, how they are drawn
``perception.attacks.threats.splat``.

Shape letters: N frames, M candidates, F feature columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.registry import THREATS
from perception.attacks.threats.point_drop import (
    limit_chosen,
    toward_best,
    whole_number,
)
from perception.attacks.threats.points import PointThreat, feature_range


@THREATS.register_module()
@dataclass(frozen=True, kw_only=True)
class PointAdd(PointThreat):
    """At most ``count`` points may be added to a frame, within a frustum.

    The frustum has its apex in the sensor and is divided into ``candidates`` cells of
    azimuth and elevation, each with one candidate that may lie anywhere in it at any
    range, but not below the frame's lowest return: a sensor sees no ground from beneath
    (those that measure no height are free). The variable is (N, M, 4 + F): score,
    azimuth and elevation in degrees, range in metres, features. Chosen candidates are
    added, behind the true points in order.

    Attributes:
        count: How many points may be added.
        azimuth_deg: Lowest and highest angle in the x-y plane, from x towards y; None
            for what the camera sees.
        elevation_deg: Likewise from the x-y plane towards z.
        range_m: Nearest and farthest distance from the sensor.
        around_object: Narrow the frustum to the largest labelled box of the frame.
        candidates: Rows and columns of cells.
    """

    count: int = 0
    azimuth_deg: tuple[float, float] | None = None
    elevation_deg: tuple[float, float] | None = None
    range_m: tuple[float, float] = (2.0, 80.0)
    around_object: bool = False
    candidates: tuple[int, int] = (48, 160)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(*whole_number(self.count))
        for what in ("azimuth_deg", "elevation_deg", "range_m"):
            bounds = getattr(self, what)
            self.require(
                bounds is None or bounds[0] < bounds[1],
                f"{what} must be (low, high) with low < high, got {bounds}",
            )
        self.require(self.range_m[0] > 0, "range_m must be positive")
        self.require(
            min(self.candidates) >= 1,
            f"candidates must be at least 1 by 1, got {self.candidates}",
        )

    def clean(self, batch: AttackBatch) -> Tensor:
        """(N, M, 4 + F): nothing chosen, everything in the middle of its range."""
        low, high = self.box(batch)
        variable = (low + high) / 2
        variable[..., 0] = 0
        return variable

    def random(self, batch: AttackBatch, restart: int) -> Tensor:
        """``count`` random candidates, uniform in angles, range and features."""
        low, high = self.box(batch)
        low = low.clone()  # the box is the batch's
        low[..., 0] = 0
        drawn = [
            torch.rand(low.shape[1:], generator=self.generator(batch, n, restart))
            for n in range(len(batch))
        ]
        return self.project(torch.lerp(low, high, torch.stack(drawn).to(low)), batch)

    def step(
        self, variable: Tensor, gradient: Tensor, fraction: Tensor, batch: AttackBatch
    ) -> Tensor:
        """Towards the best choice; candidates move by the sign of their gradient."""
        low, high = self.box(batch)
        move = gradient.sign() * (high - low) / 2
        moved = variable + fraction.view(-1, 1, 1) * move
        moved[..., 0] = toward_best(
            variable[..., 0], gradient[..., 0], fraction, self.count
        )
        return moved

    def project(self, variable: Tensor, batch: AttackBatch) -> Tensor:
        """Into each candidate's cell; choose at most ``count``."""
        low, high = self.box(batch)
        variable = torch.maximum(torch.minimum(variable, high), low)
        scores = limit_chosen(variable[..., 0], self.count)
        return torch.cat([scores[..., None], variable[..., 1:]], dim=2)

    def cloud(
        self, row: Tensor, batch: AttackBatch, frame: int
    ) -> tuple[Tensor, Tensor | None]:
        """True points, then all candidates; unchosen ones have no positive score."""
        points = batch.raw[self.sensor][frame]
        azimuth, elevation = row[:, 1].deg2rad(), row[:, 2].deg2rad()
        flat_m = row[:, 3] * elevation.cos()
        xyz = [
            flat_m * azimuth.cos(),
            flat_m * azimuth.sin(),
            row[:, 3] * elevation.sin(),
        ]
        added = torch.cat([torch.stack(xyz, dim=1), row[:, 4:]], dim=1)
        score = torch.cat([torch.ones_like(points[:, 0]), row[:, 0]])
        return torch.cat([points, added]), score

    def box(self, batch: AttackBatch) -> tuple[Tensor, Tensor]:
        """Lowest and highest value of everything, each (N, M, 4 + F); only to read.

        Found once per batch: that takes longer than drawing the points.
        """
        bounds = (self.azimuth_deg, self.elevation_deg, self.range_m, self.candidates)
        key = ("added points", self.sensor, repr(bounds), self.around_object)

        def found() -> tuple[Tensor, Tensor]:
            cells = [torch.stack(self._cells(batch, n)) for n in range(len(batch))]
            low, high = torch.stack(cells, dim=1)
            return low, high

        return batch.once(key, found)

    def _cells(self, batch: AttackBatch, frame: int) -> tuple[Tensor, Tensor]:
        """One frame's box, each (M, 4 + F), row by row."""
        azimuth, elevation = self.frustum_deg(batch, frame)
        rows, columns = self.candidates
        reference = batch.inputs[self.sensor]
        ends = [
            torch.linspace(*bounds, cells + 1, dtype=torch.float64).to(reference)
            for bounds, cells in ((elevation, rows), (azimuth, columns))
        ]
        features = feature_range(batch, self.sensor)
        features = features.nan_to_num(neginf=0.0, posinf=1.0)
        # By the steeper end of a cell, the lower row of its angles.
        reach_m = self._reach_m(batch, frame, ends[0][:rows])[:, None]
        boxes = []
        for side in (0, 1):
            up = ends[0][side : rows + side]
            across = ends[1][side : columns + side]
            row_deg, column_deg = torch.meshgrid(up, across, indexing="ij")
            score = torch.full_like(row_deg, 2.0 * side - 1)
            range_m = torch.full_like(row_deg, self.range_m[side]).minimum(reach_m)
            columns_of = [score, column_deg, row_deg, range_m]
            columns_of += [torch.full_like(row_deg, v) for v in features[side].tolist()]
            boxes.append(torch.stack([c.flatten() for c in columns_of], dim=1))
        return boxes[0], boxes[1]

    def _reach_m(self, batch: AttackBatch, frame: int, elevation_deg: Tensor) -> Tensor:
        """Distance at which rays reach the height of the frame's lowest return."""
        heights_m = batch.raw[self.sensor][frame][:, 2]
        blind = batch.sensors[self.sensor].pillar_m is not None
        reach_m = torch.full_like(elevation_deg, torch.inf)
        if blind or not len(heights_m) or heights_m.min() >= 0:
            return reach_m
        down = -elevation_deg.deg2rad().sin()
        # A hair less, so that rounding does not go below.
        lowest_m = heights_m.min().to(down) * (1 - 1e-5)
        return torch.where(down > 0, -lowest_m / down, reach_m)

    def frustum_deg(
        self, batch: AttackBatch, frame: int
    ) -> tuple[tuple[float, float], tuple[float, float]]:
        """Bounds of azimuth and elevation of one frame in degrees."""
        sample = batch.samples[frame]
        height, width = sample.img_shape[:2]
        left, top, right, bottom = 0.0, 0.0, width - 1.0, height - 1.0
        if self.around_object and len(sample.gt_instances):
            boxes = sample.gt_instances.bboxes
            size = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
            left, top, right, bottom = boxes[size.argmax()].tolist()
        across = torch.linspace(left, right, 9, dtype=torch.float64)
        down = torch.linspace(top, bottom, 9, dtype=torch.float64)
        u, v = (g.flatten() for g in torch.meshgrid(across, down, indexing="xy"))
        matrix = torch.as_tensor(sample.projections[self.sensor]).double().cpu()
        pixels = torch.stack([u, v, torch.ones_like(u)])
        x, y, z = torch.linalg.solve(matrix[:, :3], pixels)
        # Relative to the middle, so that no frustum straddles ±180°.
        middle = torch.atan2(y.mean(), x.mean())
        azimuth = torch.atan2(y, x) - middle
        azimuth = torch.atan2(azimuth.sin(), azimuth.cos()) + middle
        azimuth = azimuth.rad2deg()
        elevation = torch.atan2(z, torch.hypot(x, y)).rad2deg()
        return (
            self.azimuth_deg or (azimuth.min().item(), azimuth.max().item()),
            self.elevation_deg or (elevation.min().item(), elevation.max().item()),
        )
