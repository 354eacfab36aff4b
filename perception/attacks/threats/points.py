"""Threats to raw points: move them a little, or change their features.

Their variables have one row per point; frames with fewer points are padded with rows
that stay zero. Images are drawn by
:func:`perception.attacks.threats.splat.splat`, whose module says how the gradient of
steps is approximated.

Shape letters: N frames, P points (of the frame that has most), K numbers per point, F
feature columns.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.registry import THREATS
from perception.attacks.threats.base import ThreatModel
from perception.attacks.threats.budgets import budget_of, values_of
from perception.attacks.threats.splat import View, splat


@dataclass(frozen=True, kw_only=True)
class PointThreat(ThreatModel):
    """Changes the points of a ``points`` sensor before they are drawn."""

    def check(self, sensors: Mapping[str, Any]) -> None:
        """Also raise if the sensor delivers no points."""
        super().check(sensors)
        if (kind := sensors[self.sensor].kind) != "points":
            raise ValueError(
                f"threat {self.name!r} changes points, but {self.sensor!r} is a "
                f"sensor of kind {kind!r}"
            )

    @abstractmethod
    def cloud(
        self, row: Tensor, batch: AttackBatch, frame: int
    ) -> tuple[Tensor, Tensor | None]:
        """One frame's points (P', 3 + F) and their scores (P',).

        Points with a score above 0 are present; no scores: all are. ``row`` is the
        frame's part of the variable; the points are differentiable in it.
        """

    def render(self, variable: Tensor, batch: AttackBatch) -> dict[str, Tensor]:
        """The drawn points, (N, C, H, W)."""
        images = []
        for n in range(len(batch)):
            points, score = self.cloud(variable[n], batch, n)
            view = View.of(batch, self.sensor, n)
            # Without a point in view nothing else ties the image to the variable.
            images.append(splat(points, view, score) + 0 * variable[n].sum())
        return {self.sensor: torch.stack(images)}

    @torch.no_grad()
    def points(self, variable: Tensor, batch: AttackBatch) -> list[Tensor]:
        """The N attacked point clouds (P', 3 + F); drawing them is :meth:`render`."""
        clouds = []
        for n in range(len(batch)):
            points, score = self.cloud(variable[n], batch, n)
            clouds.append(points if score is None else points[score > 0])
        return clouds


@dataclass(frozen=True, kw_only=True)
class ExistingPoints(PointThreat):
    """Changes points that are there: K numbers for each of them."""

    def width(self, batch: AttackBatch) -> int:
        """K."""
        return 1

    def clean(self, batch: AttackBatch) -> Tensor:
        """(N, P, K) zeros."""
        clouds = batch.raw[self.sensor]
        most = max(len(cloud) for cloud in clouds)
        return clouds[0].new_zeros(len(clouds), most, self.width(batch))

    def random(self, batch: AttackBatch, restart: int) -> Tensor:
        """:meth:`draw` for every frame, padded."""
        variable = self.clean(batch)
        for n, cloud in enumerate(batch.raw[self.sensor]):
            generator = self.generator(batch, n, restart)
            drawn = torch.rand(len(cloud), variable.shape[2], generator=generator)
            variable[n, : len(cloud)] = self.draw(drawn.to(variable), batch, n)
        return self.project(variable, batch)

    @abstractmethod
    def draw(self, uniform: Tensor, batch: AttackBatch, frame: int) -> Tensor:
        """From uniform numbers (P, K) in 0 … 1 to one frame's random variable."""

    def padded(self, batch: AttackBatch) -> Tensor:
        """(N, P, 3 + F) points, padded with zeros."""
        return torch.nn.utils.rnn.pad_sequence(
            list(batch.raw[self.sensor]), batch_first=True
        )


@THREATS.register_module()
@dataclass(frozen=True, kw_only=True)
class PointShift(ExistingPoints):
    """Every point may be moved by at most ``radius_m``.

    Attributes:
        radius_m: Largest shift of each point in metres.
        along: ``ray``: to and fro on its ray from the sensor, as an attacker who
            delays or fakes returns can (K = 1, metres away from the sensor); ``free``:
            within a ball (K = 3, metres in x, y, z).
    """

    radius_m: float = 0.0
    along: Literal["ray", "free"] = "ray"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            self.radius_m >= 0, f"radius_m must not be negative, got {self.radius_m}"
        )
        self.require(
            self.along in ("ray", "free"),
            f"along must be ray or free, got {self.along!r}",
        )

    def width(self, batch: AttackBatch) -> int:
        """1 along the ray, 3 in space."""
        return 1 if self.along == "ray" else 3

    def draw(self, uniform: Tensor, batch: AttackBatch, frame: int) -> Tensor:
        """Uniform on the ray, or in the cube around the ball, then projected."""
        return (2 * uniform - 1) * self.radius_m

    def step(
        self, variable: Tensor, gradient: Tensor, fraction: Tensor, batch: AttackBatch
    ) -> Tensor:
        """Each point moves along its own gradient by the same distance."""
        length = gradient.norm(dim=2, keepdim=True).clamp(min=1e-30)
        return variable + fraction.view(-1, 1, 1) * self.radius_m * gradient / length

    def project(self, variable: Tensor, batch: AttackBatch) -> Tensor:
        """Into each point's ball; on the ray never behind the sensor."""
        if self.along == "ray":
            range_m = self.padded(batch)[..., :3].norm(dim=2, keepdim=True)
            low = -range_m.clamp(max=self.radius_m)
            return torch.maximum(variable.clamp(max=self.radius_m), low)
        length = variable.norm(dim=2, keepdim=True)
        # A hair less than the radius, so that rounding does not leave the ball.
        shrink = self.radius_m * (1 - 1e-6) / length.clamp(min=1e-30)
        return torch.where(length > self.radius_m, variable * shrink, variable)

    def cloud(
        self, row: Tensor, batch: AttackBatch, frame: int
    ) -> tuple[Tensor, Tensor | None]:
        """The moved points; features stay."""
        points = batch.raw[self.sensor][frame]
        xyz, shift = points[:, :3], row[: len(points)]
        if self.along == "ray":
            shift = shift * xyz / xyz.norm(dim=1, keepdim=True).clamp(min=1e-6)
        return torch.cat([xyz + shift, points[:, 3:]], dim=1), None


@THREATS.register_module()
@dataclass(frozen=True, kw_only=True)
class PointFeatures(ExistingPoints):
    """Features of every point, such as its reflectance, may change a little.

    Attributes:
        eps: For each feature column's name its budget in the column's unit (K = F);
            columns without one stay. A single number holds for all of them. Features
            keep to the physical range of the channel of the same name.
    """

    eps: float | Mapping[str, float] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            all(value >= 0 for value in values_of(self.eps)),
            f"eps must not be negative, got {self.eps}",
        )

    def check(self, sensors: Mapping[str, Any]) -> None:
        """Also raise if points have no features, or none of that name."""
        super().check(sensors)
        names = sensors[self.sensor].columns[3:]
        wanted = set(self.eps) if isinstance(self.eps, Mapping) else set()
        self.require(
            bool(names) and wanted <= set(names),
            f"points of {self.sensor!r} have features {names}, not "
            f"{sorted(wanted - set(names)) or 'any'}",
        )

    def width(self, batch: AttackBatch) -> int:
        """F."""
        return len(batch.sensors[self.sensor].columns) - 3

    def draw(self, uniform: Tensor, batch: AttackBatch, frame: int) -> Tensor:
        """Uniform in the box, before the physical range cuts it."""
        return (2 * uniform - 1) * self._budget(batch).to(uniform)

    def step(
        self, variable: Tensor, gradient: Tensor, fraction: Tensor, batch: AttackBatch
    ) -> Tensor:
        """Each number moves by the sign of its gradient."""
        budget = self._budget(batch).to(variable)
        return variable + fraction.view(-1, 1, 1) * budget * gradient.sign()

    def project(self, variable: Tensor, batch: AttackBatch) -> Tensor:
        """Into the box of budget and physical range; clean values always fit."""
        features = self.padded(batch)[..., 3:]
        budget = self._budget(batch).to(variable)
        low, high = feature_range(batch, self.sensor).to(variable)
        low = torch.maximum((low - features).clamp(max=0), -budget)
        high = torch.minimum((high - features).clamp(min=0), budget)
        return torch.maximum(torch.minimum(variable, high), low)

    def cloud(
        self, row: Tensor, batch: AttackBatch, frame: int
    ) -> tuple[Tensor, Tensor | None]:
        """The points with changed features; coordinates stay."""
        points = batch.raw[self.sensor][frame]
        changed = points[:, 3:] + row[: len(points)]
        return torch.cat([points[:, :3], changed], dim=1), None

    def _budget(self, batch: AttackBatch) -> Tensor:
        names = batch.sensors[self.sensor].columns[3:]
        return torch.tensor([budget_of(self.eps, name) for name in names])


def feature_range(batch: AttackBatch, sensor: str) -> Tensor:
    """(2, F) lowest and highest value of each feature; ±inf where no channel says."""
    spec = batch.sensors[sensor]
    known = {channel.name: (channel.low, channel.high) for channel in spec.channels}
    ranges = [known.get(n, (-torch.inf, torch.inf)) for n in spec.columns[3:]]
    return torch.tensor(ranges).reshape(-1, 2).T
