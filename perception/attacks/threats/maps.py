"""The threat that changes a sensor's input map by a little everywhere.

Shape letters: N frames, C channels, H, W input size in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.registry import THREATS
from perception.attacks.threats.base import ThreatModel
from perception.attacks.threats.budgets import (
    budget_of,
    disparity_box,
    frame_norm,
    spread,
    uniform,
    values_of,
)

Norm = Literal["linf", "l2"]


@THREATS.register_module()
@dataclass(frozen=True, kw_only=True)
class MapThreat(ThreatModel):
    """Every value of a sensor's input map may change a little.

    The budget is a box or an ellipsoid: with δ the change and ε_c the budget of its
    channel, ``linf`` asks |δ| <= ε_c of every value, ``l2`` that the Euclidean norm of
    all δ / ε_c of a frame is at most 1.

    Attributes:
        norm: ``linf`` or ``l2``.
        eps: For each channel name its budget in the channel's unit; channels without
            one stay as they are. A single number holds for all channels.
        disparity: For a depth map with a stereo baseline: ``eps`` is in pixels of
            disparity instead of metres (``linf`` only). Pixels without a return keep
            none.
    """

    norm: Norm = "linf"
    eps: float | Mapping[str, float] = 0.0
    disparity: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        l2, budgets = self.norm == "l2", values_of(self.eps)
        self.require(
            self.norm in ("linf", "l2"), f"norm must be linf or l2, got {self.norm!r}"
        )
        self.require(
            all(value >= 0 for value in budgets),
            f"eps must not be negative, got {self.eps}",
        )
        self.require(not (self.disparity and l2), "disparity budgets are linf only")
        self.require(
            not l2 or all(map(math.isfinite, budgets)), "an l2 eps must be finite"
        )

    def check(self, sensors: Mapping[str, Any]) -> None:
        """Also raise if ``eps`` names a channel that the sensor lacks."""
        super().check(sensors)
        names = [channel.name for channel in sensors[self.sensor].channels]
        if isinstance(self.eps, Mapping) and (unknown := set(self.eps) - set(names)):
            raise ValueError(
                f"threat {self.name!r}: eps names channels {sorted(unknown)}, but "
                f"{self.sensor!r} has {names}"
            )

    def clean(self, batch: AttackBatch) -> Tensor:
        """The sensor's clean input (N, C, H, W)."""
        return batch.inputs[self.sensor]

    def random(self, batch: AttackBatch, restart: int) -> Tensor:
        """Uniform in the box; for ``l2`` in a random direction, at full length."""
        clean = self.clean(batch)
        generators = [self.generator(batch, n, restart) for n in range(len(batch))]
        noise = 2 * uniform(generators, batch.sizes(self.sensor), clean) - 1
        if self.norm == "l2":
            axes = self._axes(batch)
            noise = torch.where(axes > 0, noise, 0.0)
            return self.project(clean + noise / frame_norm(noise) * axes, batch)
        low, high = self.box(batch)
        return torch.lerp(low, high, (noise + 1) / 2)

    def step(
        self, variable: Tensor, gradient: Tensor, fraction: Tensor, batch: AttackBatch
    ) -> Tensor:
        """Steepest ascent in the norm: the sign, or the gradient scaled to length 1."""
        fraction = fraction.view(-1, 1, 1, 1)
        if self.norm == "l2":
            scaled = gradient * self._axes(batch)
            direction = scaled / frame_norm(scaled)
            return variable + fraction * direction * self._axes(batch)
        low, high = self.box(batch)
        return torch.addcmul(variable, fraction * (high - low) / 2, gradient.sign())

    def project(self, variable: Tensor, batch: AttackBatch) -> Tensor:
        """Into the ball, then into the box of budget and physical range."""
        low, high = self.box(batch)
        if self.norm == "l2":
            # The box holds the clean input: clipping to it only shortens the change.
            clean, axes = self.clean(batch), self._axes(batch)
            change = torch.where(axes > 0, (variable - clean) / axes.clamp(1e-12), 0.0)
            variable = clean + change / frame_norm(change).clamp(min=1.0) * axes
        return torch.maximum(torch.minimum(variable, high), low)

    def render(self, variable: Tensor, batch: AttackBatch) -> dict[str, Tensor]:
        """The variable is the input itself."""
        return {self.sensor: variable}

    def box(self, batch: AttackBatch) -> tuple[Tensor, Tensor]:
        """Lowest and highest allowed value of everything, each (N, C, H, W)."""
        return batch.once(self._key("box"), lambda: self._box(batch))

    def _box(self, batch: AttackBatch) -> tuple[Tensor, Tensor]:
        clean, axes = self.clean(batch), self._axes(batch)
        low, high = clean - axes, clean + axes
        if self.disparity:
            known = torch.tensor(self._fx_baselines(batch)).view(-1, 1, 1, 1)
            low, high = disparity_box(clean, axes, known.to(clean))
        channels = batch.sensors[self.sensor].channels
        physical = torch.tensor([[c.low, c.high] for c in channels]).to(clean)
        # A clean value beyond the nominal range stays allowed, but goes no further.
        floor = torch.minimum(physical[:, 0].view(-1, 1, 1), clean)
        ceiling = torch.maximum(physical[:, 1].view(-1, 1, 1), clean)
        return torch.maximum(low, floor), torch.minimum(high, ceiling)

    def _key(self, what: str) -> Hashable:
        """What tells this budget from others on the same frames."""
        eps = tuple(self.eps.items()) if isinstance(self.eps, Mapping) else self.eps
        return (type(self), what, self.sensor, self.norm, self.disparity, eps)

    def _axes(self, batch: AttackBatch) -> Tensor:
        """Budget of every value (N, C, H, W), in the channels' units; 0 in padding."""
        eps = [self.eps_of(c.name) for c in batch.sensors[self.sensor].channels]
        return batch.once(
            self._key("axes"),
            lambda: spread(eps, batch.sizes(self.sensor), self.clean(batch)),
        )

    def eps_of(self, channel: str) -> float:
        """Budget of a channel in its unit (or in pixels of disparity)."""
        return budget_of(self.eps, channel)

    def _fx_baselines(self, batch: AttackBatch) -> list[float]:
        """(N,) focal length x baseline in px m."""
        known = [sample.get("fx_baseline_px_m") for sample in batch.samples]
        for sample, value in zip(batch.samples, known, strict=True):
            self.require(
                bool(value),
                f"frame {sample.get('frame_id')} has no stereo baseline (P3) in its "
                "calibration",
            )
        return known
