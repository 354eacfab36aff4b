"""Threat models: what an attacker may change, by how much, and how hard he tries.

A threat model is a value with one name, the same in configs, tables and reports. It
alone knows its budget: attacks move *variables* (whatever the attacker controls: an
input map, a list of points, a printed patch), and the threat model says where they
start, how far a step of a given fraction of the budget goes, what :meth:`project`
brings them back to, and which sensors' inputs they become.

Shape letters: N frames, C channels, H, W input size in pixels.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Generator, Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.budgets import (
    disparity_box,
    frame_norm,
    generator,
    spread,
    uniform,
)
from perception.attacks.registry import THREATS

Norm = Literal["linf", "l2"]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ThreatModel(ABC):
    """What every threat model states.

    Attributes:
        name: Its name everywhere.
        sensor: The sensor attacked.
        goal: What the attacker wants, see ``perception.attacks.objectives``.
        steps: Gradient steps (or queries) per restart.
        restarts: Independent tries; the best one per frame counts.
        seed: Seed of every random draw.
    """

    name: str
    sensor: str
    goal: str = "detection"
    steps: int = 20
    restarts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1:
            raise ValueError(
                f"threat {self.name!r}: steps and restarts must be at least 1, got "
                f"{self.steps} and {self.restarts}"
            )

    def check(self, sensors: Mapping[str, Any]) -> None:
        """Raise ValueError if a detector with these sensors cannot be so attacked."""
        if self.sensor not in sensors:
            raise ValueError(
                f"threat {self.name!r} attacks {self.sensor!r}, but the detector has "
                f"only {list(sensors)}"
            )

    @property
    def touched(self) -> tuple[str, ...]:
        """Sensors whose model input may differ from the clean one."""
        return (self.sensor,)

    @abstractmethod
    def clean(self, batch: AttackBatch) -> Tensor:
        """The variable that leaves everything as it is; frames along dimension 0."""

    @abstractmethod
    def random(self, batch: AttackBatch, restart: int) -> Tensor:
        """A random variable within the budget, drawn per frame and restart."""

    @abstractmethod
    def step(
        self, variable: Tensor, gradient: Tensor, fraction: Tensor, batch: AttackBatch
    ) -> Tensor:
        """Ascend by ``fraction`` (N,) of the budget; may leave the budget."""

    @abstractmethod
    def project(self, variable: Tensor, batch: AttackBatch) -> Tensor:
        """The nearest variable within the budget and the sensor's physical range."""

    @abstractmethod
    def render(self, variable: Tensor, batch: AttackBatch) -> dict[str, Tensor]:
        """Model inputs (N, C, H, W) of the touched sensors, differentiable."""

    def render_draws(self, variable: Tensor, batch: AttackBatch) -> dict[str, Tensor]:
        """What a search evaluates in place of :meth:`render`: D draws of it.

        An attacker who does not know exactly how his variable will be seen ascends
        the mean over draws (expectation over transformation).

        Returns:
            Model inputs (D N, C, H, W), draw after draw; the same ones at every call.
        """
        return self.render(variable, batch)

    def generator(self, batch: AttackBatch, frame: int, restart: int) -> Generator:
        """The random numbers of one frame and restart, whatever the batching."""
        return generator(self.seed, batch.ids[frame], restart, self.sensor)


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
        if self.norm not in ("linf", "l2"):
            raise ValueError(
                f"threat {self.name!r}: norm must be linf or l2, got {self.norm!r}"
            )
        eps = self.eps
        budgets = list(eps.values()) if isinstance(eps, Mapping) else [eps]
        if any(not value >= 0 for value in budgets):
            raise ValueError(
                f"threat {self.name!r}: eps must not be negative, got {self.eps}"
            )
        if self.disparity and self.norm != "linf":
            raise ValueError(f"threat {self.name!r}: disparity budgets are linf only")
        if self.norm == "l2" and not all(math.isfinite(value) for value in budgets):
            raise ValueError(f"threat {self.name!r}: an l2 eps must be finite")

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
        noise = 2 * uniform(generators, batch.sizes, clean) - 1
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
        return self._once(batch, self._box)

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

    def _once(self, batch: AttackBatch, make: Callable[[AttackBatch], T]) -> T:
        """What ``make`` returns, computed once per batch and budget."""
        eps = tuple(self.eps.items()) if isinstance(self.eps, Mapping) else self.eps
        key = (type(self), make.__name__, self.sensor, self.norm, self.disparity, eps)
        if key not in batch.memo:
            batch.memo[key] = make(batch)
        return batch.memo[key]

    def _axes(self, batch: AttackBatch) -> Tensor:
        """Budget of every value (N, C, H, W), in the channels' units; 0 in padding."""
        return self._once(batch, self._spread)

    def _spread(self, batch: AttackBatch) -> Tensor:
        eps = [self.eps_of(c.name) for c in batch.sensors[self.sensor].channels]
        return spread(eps, batch.sizes, self.clean(batch))

    def eps_of(self, channel: str) -> float:
        """Budget of a channel in its unit (or in pixels of disparity)."""
        if isinstance(self.eps, Mapping):
            return float(self.eps.get(channel, 0.0))
        return float(self.eps)

    def _fx_baselines(self, batch: AttackBatch) -> list[float]:
        """(N,) focal length x baseline in px m."""
        known = [sample.get("fx_baseline_px_m") for sample in batch.samples]
        for sample, value in zip(batch.samples, known, strict=True):
            if not value:
                raise ValueError(
                    f"threat {self.name!r}: frame {sample.get('frame_id')} has no "
                    "stereo baseline (P3) in its calibration"
                )
        return known
